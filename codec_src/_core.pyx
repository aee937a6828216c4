# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Binding of the C++ core: bytes and four-axis arrays in the stream's order x, y, z, field."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint32_t
from libcpp cimport bool

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

    cppclass ConstArray:
        const char* data
        Strides strides

    cppclass MutableArray:
        char* data
        Strides strides

    enum class Transform:
        none
        plus_two

    void encode(const StreamHeader&, const ConstArray&, Transform, ByteBuffer&) except +translate
    StreamHeader read_header(const uint8_t*, size_t) except +translate
    void decode(
        const uint8_t*, size_t, const StreamHeader&, const MutableArray&, Transform
    ) except +translate


set_codec_error(CodecError)

ctypedef fused Sample:
    float
    double


cdef inline bint is_empty(const Py_ssize_t* shape) noexcept nogil:
    return shape[0] == 0 or shape[1] == 0 or shape[2] == 0 or shape[3] == 0


cdef inline Transform transform_of(bint plus_two) noexcept nogil:
    return Transform.plus_two if plus_two else Transform.none


cdef inline const uint8_t* start_of(const uint8_t[::1] data) noexcept:
    return &data[0] if data.shape[0] else NULL


def encode_array(const Sample[:, :, :, :] array, unsigned precision, bint plus_two):
    """Return the stream of `array`, whose axes are x, y, z and field, as bytes."""
    cdef StreamHeader header
    cdef ConstArray source
    cdef ByteBuffer out
    cdef int axis
    header.is_double = sizeof(Sample) == sizeof(double)
    header.precision = precision
    source.data = <const char*> NULL if is_empty(array.shape) else <const char*> &array[0, 0, 0, 0]
    for axis in range(4):
        if array.shape[axis] > 0x7FFFFFFF:
            raise CodecError(f"axis {axis} is longer than an fpzip stream can say")
        header.extent[axis] = <uint32_t> array.shape[axis]
        source.strides[axis] = array.strides[axis]
    with nogil:
        encode(header, source, transform_of(plus_two), out)
    return PyBytes_FromStringAndSize(<const char*> out.data(), <Py_ssize_t> out.size())


def stream_header(const uint8_t[::1] data):
    """Return (is_double, precision, extent) of a stream; extent in the order x, y, z, field."""
    cdef StreamHeader header = read_header(start_of(data), data.shape[0])
    return header.is_double, header.precision, tuple([<uint32_t> header.extent[i] for i in range(4)])


def decode_into(const uint8_t[::1] data, Sample[:, :, :, :] out, bint plus_two):
    """Decode a stream into `out`, whose axes are x, y, z and field and match the header's."""
    cdef size_t size = data.shape[0]
    cdef const uint8_t* start = start_of(data)
    cdef StreamHeader header = read_header(start, size)
    cdef MutableArray target
    cdef int axis
    if header.is_double != (sizeof(Sample) == sizeof(double)):
        raise CodecError("the stream and the array to decode into hold different types")
    target.data = <char*> NULL if is_empty(out.shape) else <char*> &out[0, 0, 0, 0]
    for axis in range(4):
        if header.extent[axis] != <size_t> out.shape[axis]:
            raise CodecError("the stream and the array to decode into differ in shape")
        target.strides[axis] = out.strides[axis]
    with nogil:
        decode(start, size, header, target, transform_of(plus_two))
