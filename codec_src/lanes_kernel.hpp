// Decoding many streams in step, one a lane. Included by one file for each kind of vector, `V`.
//
// A single stream is one long chain of latencies. Here the same steps are taken for 8 or 16 streams
// at once, and for two groups of them in turn, so that one group computes while the other waits.
// Reading on from range_coder.hpp, what differs from a stream alone:
//
// * Each lane reads ahead 64 bits of its stream, with one gather a sample; normalising shifts them
//   into the code word. Three items rarely need more, and where they do the gather is repeated.
// * A division is one of floats, rounded down, and either corrected by one or checked: it can be
//   too small by one, and never too large.
// * A symbol is found with a gather from 512 bins and one of four neighbouring interval ends, which
//   settles bins of up to three symbols. Crowded bins go to `search_slowly`.
// * Tables are rebuilt on the same sample in all lanes; only what a symbol counts differs.
// * Bytes cannot be trusted, but indices can: they come from clamped quotients and from symbols
//   that exist. Errors are collected on the way and only looked at between rows.

#include <cstring>

namespace kemp {
namespace {

constexpr std::uint32_t kMostSymbols = 65;   // 2 * 32 + 1
constexpr std::uint32_t kSymbolStride = 72;  // in a lane's tables
constexpr std::uint32_t kBinStride = 512 + 8;
constexpr std::size_t kBinsAtOnce = 32;  // to fill
constexpr std::uint32_t kLongestInterval = 1024;
constexpr std::uint32_t kStretch = 256;               // samples between looks at the input's ends
constexpr std::size_t kRoom = kStretch * 3 * 5 + 16;  // bytes that those may take, and a gather
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kAhead = kCacheLine;  // what is asked for begins so many bytes further on

// The models of a group of lanes.
template <int L>
struct alignas(64) Models {
  std::uint8_t bins[L * kBinStride + kBinsAtOnce];
  // For symbol s, at s + 1: the last of the 2^16 numbers that belong to it. Before the first, -1.
  std::uint16_t lasts[L * kSymbolStride];
  alignas(64) std::uint32_t frequency[L * kSymbolStride];
  alignas(64) std::uint32_t increment[L];
  alignas(64) std::uint32_t raise[L];      // from this symbol of the interval on, one more
  alignas(64) std::uint32_t uncounted[L];  // the last symbol, which the next one counts
  std::uint32_t symbols;
  std::uint32_t interval;
  std::uint32_t counted;  // symbols of the interval; -1 before the first of a field

  void rebuild(int lane) {
    std::uint32_t* const f = frequency + lane * kSymbolStride;
    std::uint16_t* const last = lasts + lane * kSymbolStride + 1;
    std::uint8_t* const bin = bins + lane * kBinStride;
    std::uint32_t sum = 0, missing = 1u << 16, b = 0;
    for (std::uint32_t s = 0; s < symbols; ++s) {
      sum += f[s];
      last[s] = static_cast<std::uint16_t>(sum - 1);
      // What is written too far is written over by the next symbol, or by the next lane's.
      const std::uint32_t end = (sum + 127) >> 7;
      do {
        std::memset(bin + b, static_cast<int>(s), kBinsAtOnce);
        b += kBinsAtOnce;
      } while (b < end);
      b = end;
      f[s] = f[s] >> 1 | 1;
      missing -= f[s];
    }
    increment[lane] = missing / interval;
    raise[lane] = interval - missing % interval;
  }

  void reset(std::uint32_t n) {
    symbols = n;
    interval = n >> 4 | 2;
    interval = interval * 2 < kLongestInterval ? interval * 2 : kLongestInterval;
    counted = 0u - 1;
    const std::uint32_t each = (1u << 16) / n, remainder = (1u << 16) % n;
    for (int lane = 0; lane < L; ++lane) {
      std::uint32_t* const f = frequency + lane * kSymbolStride;
      for (std::uint32_t s = 0; s < kSymbolStride; ++s) {
        f[s] = s < n ? each + (s < remainder ? 1 : 0) : 0;
        lasts[static_cast<std::uint32_t>(lane) * kSymbolStride + s] = 0xFFFF;
      }
      uncounted[lane] = kSymbolStride - 1;  // counts where no symbol is
      rebuild(lane);
    }
  }

  std::uint32_t steady() const { return interval - counted; }

  void renew() {
    counted = 0;
    interval = interval * 2 < kLongestInterval ? interval * 2 : kLongestInterval;
    for (int lane = 0; lane < L; ++lane) rebuild(lane);
  }
};

// What a lane reads: the bytes of a job, and from near their end on a copy padded with zeros.
struct LaneInput {
  const std::uint8_t* end;
  bool in_tail;
  std::uint8_t tail[2 * kRoom];
};

template <class V>
struct Group {
  static constexpr int L = V::kLanes;
  Models<L> models;
  alignas(64) std::uint64_t at[L];
  alignas(64) std::uint32_t ahead[L], low[L], range[L], wrong[L];
  LaneInput input[L];
  LaneJob* jobs;
  std::size_t count;
  float* front;  // ny + 1 rows of nx samples of L lanes, used in turn; see `rows`

  void start(LaneJob* first, std::size_t n, float* memory) {
    jobs = first;
    count = n;
    front = memory;
    for (std::size_t lane = 0; lane < L; ++lane) {
      // An idle lane decodes what the first one does, so that it never takes a slow path alone.
      const LaneJob& job = jobs[lane < count ? lane : 0];
      input[lane].end = job.end;
      input[lane].in_tail = false;
      at[lane] = reinterpret_cast<std::uint64_t>(job.at);
      low[lane] = job.low;
      range[lane] = job.range;
      wrong[lane] = 0;
      promise_lane(lane, 0);
      std::uint32_t code = 0;
      for (std::size_t i = 0; i < 4; ++i)
        code = code << 8 | reinterpret_cast<const std::uint8_t*>(at[lane])[i];
      ahead[lane] = code - low[lane];
      at[lane] += 4;
    }
  }

  // Makes `kRoom` bytes readable, and asks for those that a stretch of `samples` will read, up to
  // three bytes a sample: processors do not foresee that many streams. A lane that has run out
  // begins again, since nothing that it decodes matters any more.
  void promise_lane(std::size_t lane, std::size_t samples) {
    LaneInput& in = input[lane];
    const auto* here = reinterpret_cast<const std::uint8_t*>(at[lane]);
    if (in.in_tail) {
      if (here <= in.end) return;
      wrong[lane] = 1;
      at[lane] = reinterpret_cast<std::uint64_t>(in.tail);
      return;
    }
    const auto rest = static_cast<std::size_t>(in.end - here);
    if (rest >= kRoom) {
      for (std::size_t i = 0; i < 3 * samples; i += kCacheLine) KEMP_PREFETCH(here + kAhead + i);
      return;
    }
    std::memcpy(in.tail, here, rest);
    std::memset(in.tail + rest, 0, sizeof in.tail - rest);
    in.end = in.tail + rest;
    in.in_tail = true;
    at[lane] = reinterpret_cast<std::uint64_t>(in.tail);
  }

  void promise(std::size_t samples) {
    for (std::size_t lane = 0; lane < L; ++lane) promise_lane(lane, samples);
  }

  // Between fields the coders are in the same state as those of a decoder that goes alone.
  void keep_states(std::uint32_t field) {
    for (std::size_t lane = 0; lane < count; ++lane) {
      const LaneJob& job = jobs[lane];
      if (job.states == nullptr) continue;
      const auto rest = static_cast<std::uint64_t>(input[lane].end -
                                                   reinterpret_cast<const std::uint8_t*>(at[lane]));
      const auto size = static_cast<std::uint64_t>(job.end - job.at);
      job.states[field] = {size - rest - 4, low[lane], range[lane]};
    }
  }

  void finish() {
    for (std::size_t lane = 0; lane < count; ++lane) {
      const auto* here = reinterpret_cast<const std::uint8_t*>(at[lane]);
      const bool past = input[lane].in_tail && here > input[lane].end;
      jobs[lane].failed = wrong[lane] != 0 || past || (jobs[lane].exact && here != input[lane].end);
    }
  }
};

// A search for symbols, half done. It is handed over by itself, since coders that had an address
// could not live in registers.
template <class V>
struct Search {
  typename V::I unit, ahead, ahead_then, range_then, passed, symbol, wrong;
};

// Searches on in some lanes, one by one.
template <class V>
KEMP_NOINLINE void search_slowly(const Models<V::kLanes>& models, unsigned lanes,
                                 Search<V>& search) {
  constexpr int L = V::kLanes;
  alignas(64) std::uint32_t units[L], aheads[L], thens[L], ranges[L], passes[L], symbols[L],
      wrongs[L];
  V::store(units, search.unit);
  V::store(aheads, search.ahead);
  V::store(thens, search.ahead_then);
  V::store(ranges, search.range_then);
  V::store(passes, search.passed);
  V::store(symbols, search.symbol);
  V::store(wrongs, search.wrong);
  for (std::uint32_t lane = 0; lane < L; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    const std::uint16_t* const last = models.lasts + lane * kSymbolStride + 1;
    std::uint32_t t = aheads[lane] / units[lane];
    if (t > 0xFFFF) {
      wrongs[lane] = 1;
      t = 0xFFFF;
    }
    std::uint32_t s = models.bins[lane * kBinStride + (t >> 7)];
    while (last[s] < t) ++s;
    const std::uint32_t start = s == 0 ? 0 : last[s - 1] + 1u;
    symbols[lane] = s;
    passes[lane] = units[lane] * start;
    thens[lane] = aheads[lane] - passes[lane];
    ranges[lane] = units[lane] * (last[s] + 1u - start);
  }
  search.symbol = V::load(symbols);
  search.passed = V::load(passes);
  search.ahead_then = V::load(thens);
  search.range_then = V::load(ranges);
  search.wrong = V::load(wrongs);
}

// The state of a group's coders, in registers. `ahead` is the code word less `low`.
template <class V>
struct Coders {
  using I = typename V::I;
  using M = typename V::M;

  I ahead, low, range;
  I next, after;  // the next 64 bits of the stream
  I used;         // bits of them that were taken
  I wrong;        // not 0 where a quotient was out of bounds
  typename V::Addresses at;

  KEMP_INLINE explicit Coders(const Group<V>& g)
      : ahead(V::load(g.ahead)),
        low(V::load(g.low)),
        range(V::load(g.range)),
        used(V::set(0)),
        wrong(V::load(g.wrong)),
        at(V::load_addresses(g.at)) {}

  KEMP_INLINE void save(Group<V>& g) {
    at = V::advance(at, V::template srl<3>(used));
    V::store(g.ahead, ahead);
    V::store(g.low, low);
    V::store(g.range, range);
    V::store(g.wrong, wrong);
    V::store_addresses(g.at, at);
  }

  KEMP_INLINE void refill() {
    at = V::advance(at, V::template srl<3>(used));
    used = V::set(0);
    V::gather_bytes(at, next, after);
  }

  KEMP_INLINE void take(I bits) {
    low = V::sllv(low, bits);
    range = V::sllv(range, bits);
    V::shift_in(ahead, next, after, bits);
    used = V::add(used, bits);
  }

  // Normalises the lanes of `active`. The others must not be: after a cut, that would do something.
  KEMP_INLINE void normalise(M active) {
    const I differ = V::xor_(low, V::add(low, range));
    take(V::keep(active, V::settled_bits(differ)));
    const M narrow = V::both(active, V::less(range, V::set(1u << 16)));
    if (KEMP_UNLIKELY(V::any(narrow))) cut(narrow);
  }

  KEMP_INLINE void cut(M narrow) {
    refill();
    take(V::keep(narrow, V::set(16)));
    range = V::select(narrow, V::sub(V::set(0), low), range);
  }

  // The four items since the last refill that could take more than 64 bits do so very rarely.
  KEMP_INLINE void refill_if_low() {
    if (KEMP_UNLIKELY(V::any(V::less(V::set(40), used)))) refill();
  }

  // The symbol of each lane, where `search_slowly` is told what the gathers could not settle.
  KEMP_INLINE I decode_symbol(Models<V::kLanes>& models) {
    const I unit = V::template srl<16>(range);
    const I t = V::min(V::divide_down(ahead, unit), V::set(0xFFFF));
    const I first = V::gather_bin(models.bins, V::template srl<7>(t));
    I lasts_01, lasts_23;  // of the symbol before, of this and of two more
    V::gather_lasts(models.lasts, first, lasts_01, lasts_23);
    const I last_0 = V::low_half(lasts_01), last_1 = V::template srl<16>(lasts_01);
    const I last_2 = V::low_half(lasts_23), last_3 = V::template srl<16>(lasts_23);
    const M above_1 = V::less(last_1, t), above_2 = V::less(last_2, t);
    const I before = V::select(above_2, last_2, V::select(above_1, last_1, last_0));
    const I last = V::select(above_2, last_3, V::select(above_1, last_2, last_1));
    const I symbol = V::increment(above_2, V::increment(above_1, first));
    const I start = V::low_half(V::add(before, V::set(1)));
    const I passed = V::mul(unit, start);
    const I ahead_then = V::sub(ahead, passed);
    const I range_then = V::mul(unit, V::low_half(V::sub(last, before)));
    // Not within the interval found: the bin was crowded, the quotient one too small at the very
    // start of an interval, or the stream is damaged.
    const M lost = V::not_less(ahead_then, range_then);
    if (KEMP_UNLIKELY(V::any(lost))) {
      Search<V> search{unit, ahead, ahead_then, range_then, passed, symbol, wrong};
      search_slowly<V>(models, V::bits(lost), search);
      low = V::add(low, search.passed);
      ahead = search.ahead_then;
      range = search.range_then;
      wrong = search.wrong;
      return search.symbol;
    }
    low = V::add(low, passed);
    ahead = ahead_then;
    range = range_then;
    return symbol;
  }

  // A number of `bits` <= 16 bits for each lane; 0 bits where a lane has none to read.
  KEMP_INLINE I decode_piece(I bits) {
    range = V::srlv(range, bits);
    I value = V::divide_down(ahead, range);
    I rest = V::sub(ahead, V::mul(value, range));
    const M one_more = V::not_less(rest, range);
    value = V::increment(one_more, value);
    rest = V::select(one_more, V::sub(rest, range), rest);
    low = V::add(low, V::sub(ahead, rest));
    ahead = rest;
    wrong = V::or_(wrong, V::srlv(value, bits));
    return value;
  }
};

// Counts symbols, each when the next one is due: the one that finds an interval used up is coded
// with the old table, and counted with the new one's increment.
template <class V>
struct Counter {
  using I = typename V::I;
  std::uint32_t* frequency;
  I increment, raise, counted, uncounted;

  KEMP_INLINE explicit Counter(Models<V::kLanes>& models)
      : frequency(models.frequency),
        increment(V::load(models.increment)),
        raise(V::load(models.raise)),
        counted(V::set(models.counted)),
        uncounted(V::load(models.uncounted)) {}

  KEMP_INLINE void count(I next) {
    V::count(frequency, uncounted, V::increment(V::not_less(counted, raise), increment));
    counted = V::add(counted, V::set(1));
    uncounted = next;
  }

  KEMP_INLINE void save(Models<V::kLanes>& models) { V::store(models.uncounted, uncounted); }
};

// The four rows that predictions look at, lane by lane.
struct Rows {
  float* here;  // holds the row above to the north until it is written over
  const float* north;
  const float* above;
};

template <class V>
struct Predictor {
  using F = typename V::F;
  F west, north_west, above_west, above_north_west;

  KEMP_INLINE Predictor()
      : west(V::zero()),
        north_west(V::zero()),
        above_west(V::zero()),
        above_north_west(V::zero()) {}
};

// Maps between reals and integers of the same order, as OrderedInteger does.
template <class V>
struct Order {
  using I = typename V::I;
  I dropped, sign, flip;

  KEMP_INLINE explicit Order(std::uint32_t bits)
      : dropped(V::set(32 - bits)), sign(V::set(bits - 1)), flip(V::set(33 - bits)) {}

  // With all bits kept `flip` is 1 and `dropped` 0; a shift by 32 would give 0 as it should.
  KEMP_INLINE I flip_negative(I u) const {
    return V::xor_(u, V::srlv(V::sub(V::set(0), V::srlv(u, sign)), flip));
  }
  KEMP_INLINE I forward(I bits) const { return flip_negative(V::srlv(V::not_(bits), dropped)); }
  KEMP_INLINE I inverse(I u) const { return V::sllv(V::not_(flip_negative(u)), dropped); }
};

template <class V>
KEMP_NOINLINE typename V::F settle(typename V::F p, typename V::F (&terms)[7]) {
  alignas(64) float results[V::kLanes], values[7][V::kLanes];
  V::store_reals(results, p);
  for (int i = 0; i < 7; ++i) V::store_reals(values[i], terms[i]);
  for (int lane = 0; lane < V::kLanes; ++lane) {
    float of_lane[7];
    for (int i = 0; i < 7; ++i) of_lane[i] = values[i][lane];
    if (results[lane] != results[lane]) results[lane] = settled_prediction(of_lane);
  }
  return V::load_reals(results);
}

template <class V>
KEMP_INLINE typename V::F predict(Predictor<V>& w, const Rows& rows, std::size_t i) {
  using F = typename V::F;
  const F above_north = V::load_reals(rows.here + i);
  const F north = V::load_reals(rows.north + i);
  const F above = V::load_reals(rows.above + i);
  F p = V::minus(w.west, above_north);
  p = V::plus(p, north);
  p = V::minus(p, w.above_west);
  p = V::plus(p, above);
  p = V::minus(p, w.north_west);
  p = V::plus(p, w.above_north_west);
  if (KEMP_UNLIKELY(V::any_nan(p))) {
    F terms[7] = {w.west,       above_north,       north, w.above_west, above,
                  w.north_west, w.above_north_west};
    p = settle<V>(p, terms);
  }
  w.north_west = north;
  w.above_west = above;
  w.above_north_west = above_north;
  return p;
}

// Decodes a stretch of a row for one group of lanes, or for two in turn.
template <class V, int G>
void decode_stretch(Group<V>* const (&groups)[G], const Rows (&rows)[G],
                    Predictor<V> (&predictors)[G], std::size_t x, std::size_t end,
                    std::uint32_t bits) {
  using I = typename V::I;
  using M = typename V::M;
  constexpr std::size_t L = V::kLanes;
  const I centre = V::set(bits);
  const Order<V> order(bits);

  // Each step is taken for both groups before the next, which is the order to execute them in.
  Coders<V> a(*groups[0]), b(*groups[G - 1]);
  Predictor<V> wa = predictors[0], wb = predictors[G - 1];
  Counter<V> counter_a(groups[0]->models), counter_b(groups[G - 1]->models);

  const auto lengths = [&](I symbol, I& length, M& any, M& negative) KEMP_LAMBDA_INLINE {
    negative = V::less(symbol, centre);
    any = V::differ(symbol, centre);
    const I size = V::select(negative, V::sub(centre, symbol), V::sub(symbol, centre));
    length = V::keep(any, V::sub(size, V::set(1)));
  };
  const auto reconstruct = [&](Predictor<V>& w, const Rows& r, I length, I value, M any, M negative,
                               std::size_t i) KEMP_LAMBDA_INLINE {
    const I p = order.forward(V::as_bits(predict<V>(w, r, i)));
    const I distance = V::keep(any, V::add(value, V::sllv(V::set(1), length)));
    const I sample = V::select(negative, V::sub(p, distance), V::add(p, distance));
    w.west = V::as_reals(order.inverse(sample));
    V::store_reals(r.here + i, w.west);
  };

  for (; x < end; ++x) {
    I length_a, length_b, value_a, value_b;
    M any_a, any_b, negative_a, negative_b;
    a.refill();
    if constexpr (G == 2) b.refill();
    {
      const I symbol = a.decode_symbol(groups[0]->models);
      counter_a.count(symbol);
      lengths(symbol, length_a, any_a, negative_a);
    }
    if constexpr (G == 2) {
      const I symbol = b.decode_symbol(groups[1]->models);
      counter_b.count(symbol);
      lengths(symbol, length_b, any_b, negative_b);
    }
    a.normalise(V::all());
    if constexpr (G == 2) b.normalise(V::all());

    const I sixteen = V::set(16);
    value_a = a.decode_piece(V::min(length_a, sixteen));
    if constexpr (G == 2) value_b = b.decode_piece(V::min(length_b, sixteen));
    a.normalise(any_a);
    if constexpr (G == 2) b.normalise(any_b);

    const M long_a = V::less(sixteen, length_a);
    if (V::any(long_a)) {
      a.refill_if_low();
      const I high = a.decode_piece(V::keep(long_a, V::sub(length_a, sixteen)));
      value_a = V::add(value_a, V::template sll<16>(high));
      a.normalise(long_a);
    }
    if constexpr (G == 2) {
      const M long_b = V::less(sixteen, length_b);
      if (V::any(long_b)) {
        b.refill_if_low();
        const I high = b.decode_piece(V::keep(long_b, V::sub(length_b, sixteen)));
        value_b = V::add(value_b, V::template sll<16>(high));
        b.normalise(long_b);
      }
    }
    reconstruct(wa, rows[0], length_a, value_a, any_a, negative_a, x * L);
    if constexpr (G == 2) reconstruct(wb, rows[1], length_b, value_b, any_b, negative_b, x * L);
  }
  a.save(*groups[0]);
  counter_a.save(groups[0]->models);
  predictors[0] = wa;
  if constexpr (G == 2) {
    b.save(*groups[1]);
    counter_b.save(groups[1]->models);
    predictors[1] = wb;
  }
}

// Hands the samples of a row out to the arrays of its lanes. Not told at run time whether to shift
// them: a compiler may then subtract 0 where nothing is to be, which makes signalling NaNs quiet.
template <class V, bool PlusTwo>
void store_rows(const Group<V>& g, const float* samples, const LanesShape& shape, std::uint32_t y,
                std::uint32_t z, std::uint32_t field) {
  constexpr std::size_t L = V::kLanes;
  const std::size_t nx = shape.extent[0];
  char* rows[L];
  bool adjacent = g.count == L;
  for (std::size_t lane = 0; lane < g.count; ++lane) {
    const LaneJob& job = g.jobs[lane];
    if (job.out == nullptr) return;  // of all jobs or of none
    rows[lane] = job.out + static_cast<std::ptrdiff_t>(y) * job.strides[1] +
                 static_cast<std::ptrdiff_t>(z) * job.strides[2] +
                 static_cast<std::ptrdiff_t>(field) * job.strides[3];
    adjacent = adjacent && job.strides[0] == sizeof(float);
  }
  std::size_t x = 0;
  if (adjacent)
    for (; x + L <= nx; x += L) V::template store_block<PlusTwo>(samples + x * L, rows, x);
  for (std::size_t lane = 0; lane < g.count; ++lane) {
    const std::ptrdiff_t stride = g.jobs[lane].strides[0];
    for (std::size_t i = x; i < nx; ++i) {
      float sample = samples[i * L + lane];
      if constexpr (PlusTwo) sample -= 2.0f;
      std::memcpy(rows[lane] + static_cast<std::ptrdiff_t>(i) * stride, &sample, sizeof sample);
    }
  }
}

constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

// Of a row of all lanes, and a cache line more: rows of a round number of samples would otherwise
// begin at the same place of a page, and compete for the same lines of the cache.
template <class V>
std::size_t row_bytes(const LanesShape& shape) {
  return aligned(std::size_t{shape.extent[0]} * V::kLanes * sizeof(float)) + 64;
}

template <class V, int G>
void decode_groups(const LanesShape& shape, Group<V>* const (&groups)[G], const float* zeros) {
  const std::size_t nx = shape.extent[0];
  const std::size_t row = row_bytes<V>(shape) / sizeof(float);
  const std::size_t slots = std::size_t{shape.extent[1]} + 1;
  for (std::uint32_t field = 0; field < shape.fields; ++field) {
    for (Group<V>* g : groups) {
      g->keep_states(field);
      g->models.reset(2 * shape.bits + 1);
    }
    std::size_t slot = 0;
    for (std::uint32_t z = 0; z < shape.extent[2]; ++z) {
      for (std::uint32_t y = 0; y < shape.extent[1]; ++y, slot = slot + 1 == slots ? 0 : slot + 1) {
        // Of ny + 1 slots, the oldest is the row above to the north, which this row replaces.
        Rows rows[G];
        Predictor<V> predictors[G];
        for (int n = 0; n < G; ++n) {
          float* const front = groups[n]->front;
          rows[n].here = front + slot * row;
          if (z == 0 || y == 0) std::memset(rows[n].here, 0, row * sizeof(float));
          rows[n].north = y == 0 ? zeros : front + (slot == 0 ? slots - 1 : slot - 1) * row;
          rows[n].above = z == 0 ? zeros : front + (slot + 1 == slots ? 0 : slot + 1) * row;
        }
        for (std::size_t x = 0; x < nx;) {
          // All groups have the same schedule.
          if (groups[0]->models.steady() == 0)
            for (Group<V>* g : groups) g->models.renew();
          std::size_t stretch = nx - x < kStretch ? nx - x : kStretch;
          if (groups[0]->models.steady() < stretch) stretch = groups[0]->models.steady();
          for (Group<V>* g : groups) g->promise(stretch);
          decode_stretch<V, G>(groups, rows, predictors, x, x + stretch, shape.bits);
          for (Group<V>* g : groups) g->models.counted += static_cast<std::uint32_t>(stretch);
          x += stretch;
        }
        const auto store = shape.plus_two ? store_rows<V, true> : store_rows<V, false>;
        for (int n = 0; n < G; ++n) store(*groups[n], rows[n].here, shape, y, z, field);
      }
    }
  }
  for (Group<V>* g : groups) g->keep_states(shape.fields);
}

template <class V>
std::size_t workspace(const LanesShape& shape, std::size_t jobs) {
  const std::size_t groups = jobs > V::kLanes ? 2 : 1;
  const std::size_t front = row_bytes<V>(shape) * (std::size_t{shape.extent[1]} + 1);
  return row_bytes<V>(shape) + groups * (aligned(sizeof(Group<V>)) + front);
}

template <class V>
void decode_lanes(const LanesShape& shape, LaneJob* jobs, std::size_t count, void* memory) {
  constexpr std::size_t L = V::kLanes;
  auto* free = static_cast<char*>(memory);
  const auto lend = [&](std::size_t bytes) {
    char* const lent = free;
    free += aligned(bytes);
    return lent;
  };
  auto* const zeros = reinterpret_cast<float*>(lend(row_bytes<V>(shape)));
  std::memset(zeros, 0, row_bytes<V>(shape));
  const auto start = [&](std::size_t first) {
    auto* const g = reinterpret_cast<Group<V>*>(lend(sizeof(Group<V>)));
    const std::size_t front = row_bytes<V>(shape) * (std::size_t{shape.extent[1]} + 1);
    g->start(jobs + first, count - first < L ? count - first : L,
             reinterpret_cast<float*>(lend(front)));
    return g;
  };
  if (count <= L) {
    Group<V>* const groups[1] = {start(0)};
    decode_groups<V, 1>(shape, groups, zeros);
    groups[0]->finish();
  } else {
    Group<V>* const groups[2] = {start(0), start(L)};
    decode_groups<V, 2>(shape, groups, zeros);
    for (Group<V>* g : groups) g->finish();
  }
}

}  // namespace
}  // namespace kemp
