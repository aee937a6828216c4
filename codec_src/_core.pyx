# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Binding of the C++ core: bytes and four-axis arrays in the stream's order x, y, z, field."""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.string cimport string
from libcpp.utility cimport move
from libcpp.vector cimport vector

from napari_kemp.errors import CodecError


cdef extern from "<array>" namespace "std" nogil:
    cdef cppclass Extent "std::array<std::uint32_t, 4>":
        uint32_t& operator[](size_t)
    cdef cppclass Strides "std::array<std::ptrdiff_t, 4>":
        ptrdiff_t& operator[](size_t)


cdef extern from *:
    """
    #include <new>

    #include "errors.hpp"

    static PyObject *codec_error = nullptr;

    static void set_codec_error(PyObject *error) {
      Py_INCREF(error);
      codec_error = error;
    }

    // Runs in a catch block: turns the C++ exception in flight into a Python one.
    static void translate() {
      try {
        throw;
      } catch (const kemp::CodecError &error) {
        PyErr_SetString(codec_error, error.what());
      } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
      } catch (const std::exception &error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
      }
    }
    """
    void set_codec_error(object)
    void translate()


cdef extern from "codec.hpp" namespace "kemp" nogil:
    cppclass ByteBuffer:
        const uint8_t* data()
        size_t size()

    cppclass StreamHeader:
        bool is_double
        unsigned precision
        Extent extent
        void check() except +translate

    cppclass CoderState:
        uint64_t offset
        uint32_t low
        uint32_t range
        bool possible()

    cppclass StreamStart:
        StreamHeader header
        CoderState state

    cppclass ConstArray:
        const char* data
        Strides strides

    cppclass MutableArray:
        char* data
        Strides strides

    cppclass EncodeJob:
        ConstArray array
        ByteBuffer out
        vector[CoderState] fields

    cppclass DecodeJob:
        const uint8_t* data
        size_t size
        CoderState start
        bool exact
        bool keep_states
        MutableArray array
        vector[CoderState] fields
        string error

    enum class Transform:
        none
        plus_two

    enum class Path:
        plain
        interleaved
        avx2
        avx512

    Path best_path()
    void encode(const StreamHeader&, Transform, EncodeJob*, size_t) except +translate
    StreamStart read_header(const uint8_t*, size_t) except +translate
    void decode(
        const StreamHeader&, uint32_t, Transform, DecodeJob*, size_t, Path
    ) except +translate


cdef extern from "census.hpp" namespace "kemp" nogil:
    cppclass Census:
        uint64_t outside
        uint64_t nan
        uint64_t infinite
        float rounding

    Census take_census(const ConstArray&, const Extent&)


cdef extern from "crc32c.hpp" namespace "kemp" nogil:
    uint32_t crc32c "kemp::crc32c"(const uint8_t*, size_t)
    uint32_t crc32c_portable "kemp::crc32c_portable"(const uint8_t*, size_t)


set_codec_error(CodecError)

ctypedef fused Sample:
    float
    double

_PATHS = ("plain", "interleaved", "avx2", "avx512")
cdef Path path = best_path()


cdef inline Transform transform_of(bint plus_two) noexcept nogil:
    return Transform.plus_two if plus_two else Transform.none


cdef inline const uint8_t* start_of(const uint8_t[::1] data) noexcept:
    return &data[0] if data.shape[0] else NULL


cdef bytes states_of(const vector[CoderState]& states):
    # 16 bytes each: offset (8), low (4), range (4), in the machine's own order.
    return PyBytes_FromStringAndSize(
        <const char*> states.data(), <Py_ssize_t> (states.size() * sizeof(CoderState)))


def paths():
    """Return the ways to decode that this processor has, the fastest last."""
    return _PATHS[: <int> best_path() + 1]


def set_path(name):
    """Decode by one of `paths()` from now on; all give the same result. For tests."""
    global path
    if name not in paths():
        raise ValueError(f"this processor has {paths()}, not {name!r}")
    path = <Path> <int> _PATHS.index(name)


def checksum(const uint8_t[::1] data, bint portable=False):
    """Return the CRC-32C of some bytes."""
    cdef const uint8_t* start = start_of(data)
    cdef size_t size = data.shape[0]
    cdef uint32_t crc
    with nogil:
        crc = crc32c_portable(start, size) if portable else crc32c(start, size)
    return crc


cdef set_source(EncodeJob& job, const Sample[:, :, :, :] array):
    cdef int axis
    job.array.data = <const char*> NULL if array.size == 0 else <const char*> &array[0, 0, 0, 0]
    for axis in range(4):
        job.array.strides[axis] = array.strides[axis]


cdef set_target(DecodeJob& job, Sample[:, :, :, :] array):
    cdef int axis
    job.array.data = <char*> NULL if array.size == 0 else <char*> &array[0, 0, 0, 0]
    for axis in range(4):
        job.array.strides[axis] = array.strides[axis]


cdef StreamHeader make_header(bint is_double, unsigned precision, shape) except *:
    cdef StreamHeader header
    cdef int axis
    header.is_double = is_double
    header.precision = precision
    for axis in range(4):
        if not 0 <= shape[axis] <= 0x7FFFFFFF:
            raise CodecError(f"axis {axis} is longer than an fpzip stream can say")
        header.extent[axis] = <uint32_t> shape[axis]
    header.check()
    return header


cdef class Encoded:
    """A stream where the core wrote it: a buffer, of which whoever keeps it makes bytes.

    So that what is stored behind the stream costs no second copy. `states` are those of the coder
    at the start of each field.
    """
    cdef ByteBuffer stream
    cdef readonly bytes states

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(
            buffer, self, <void*> self.stream.data(), <Py_ssize_t> self.stream.size(), 1, flags)


def encode_arrays(list arrays, bint is_double, unsigned precision, bint plus_two):
    """Return an `Encoded` of each array. All have axes x, y, z, field, and one shape."""
    cdef size_t count = len(arrays)
    cdef size_t i
    cdef vector[EncodeJob] jobs
    cdef StreamHeader header
    cdef Encoded encoded
    if count == 0:
        return []
    header = make_header(is_double, precision, arrays[0].shape)
    jobs = vector[EncodeJob](count)
    for i in range(count):
        if is_double:
            set_source[double](jobs[i], arrays[i])
        else:
            set_source[float](jobs[i], arrays[i])
    with nogil:
        encode(header, transform_of(plus_two), jobs.data(), count)
    streams = []
    for i in range(count):
        encoded = Encoded()
        encoded.stream = move(jobs[i].out)
        encoded.states = states_of(jobs[i].fields)
        streams.append(encoded)
    return streams


def census(array):
    """Return (outside, nan, infinite, rounding) of an array of four axes, float32.

    How many samples are finite but below 0 or above 1, are NaN, or are infinite, and the largest
    difference between a finite one and what a kempressed stream holds of it.
    """
    cdef EncodeJob job
    cdef StreamHeader header = make_header(False, 0, array.shape)
    cdef Census found
    set_source[float](job, array)
    with nogil:
        found = take_census(job.array, header.extent)
    return found.outside, found.nan, found.infinite, found.rounding


def stream_header(const uint8_t[::1] data):
    """Return (is_double, precision, extent, state) of a stream.

    The extent is in the order x, y, z, field; the state is (offset, low, range) at the first field.
    """
    cdef StreamStart start = read_header(start_of(data), data.shape[0])
    return (
        start.header.is_double,
        start.header.precision,
        tuple([<uint32_t> start.header.extent[i] for i in range(4)]),
        (start.state.offset, start.state.low, start.state.range),
    )


def decode_fields(
    list datas, list states, list outs, tuple extent, bint is_double, unsigned precision,
    bint plus_two, bint exact, bint keep_states,
):
    """Decode consecutive fields out of each of some streams of one shape.

    `datas` are buffers, `states` tuples (offset, low, range) at the first of the fields, with
    offsets that count from the beginning of the buffer, and `outs` arrays x, y, z, field, or None
    where the samples are not wanted. `extent` is that of all `outs`. `exact` says that the buffers
    end where the fields do. Returns (error, states) for each: a message or None, and the states at
    the start of each field if `keep_states`.
    """
    cdef size_t count = len(datas)
    cdef size_t i
    cdef vector[DecodeJob] jobs = vector[DecodeJob](count)
    cdef StreamHeader header = make_header(is_double, precision, extent)
    cdef const uint8_t[::1] data
    cdef uint64_t offset
    keep_alive = []
    for i in range(count):
        data = datas[i]
        keep_alive.append(data)
        jobs[i].data = start_of(data)
        jobs[i].size = data.shape[0]
        jobs[i].start.offset, jobs[i].start.low, jobs[i].start.range = states[i]
        if not jobs[i].start.possible():
            raise CodecError("the section table holds a state that no coder can be in")
        jobs[i].exact = exact
        jobs[i].keep_states = keep_states
        out = outs[i]
        if out is None:
            jobs[i].array.data = NULL
            continue
        if tuple(out.shape) != extent:
            raise CodecError("the stream and the array to decode into differ in shape")
        if is_double:
            set_target[double](jobs[i], out)
        else:
            set_target[float](jobs[i], out)
    with nogil:
        decode(header, header.extent[3], transform_of(plus_two), jobs.data(), count, path)
    results = []
    for i in range(count):
        error = (<bytes> jobs[i].error).decode() if jobs[i].error.size() else None
        results.append((error, states_of(jobs[i].fields)))
    return results
