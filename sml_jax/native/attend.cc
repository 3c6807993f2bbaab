// Attention of new tokens over a cache and over each other: each row reads the slots that it holds and no more,
// where a product over whole caches reads as far as the longest row's. float32; the softmax in two passes.
//
// Built by build.py; called through jax.ffi by models/cached_attention_native.py, which says what the shapes are.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "crew.h"
#include "lanes.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using sml_jax::At;
using sml_jax::kLanes;
using sml_jax::Lanes;

namespace {

constexpr int64_t kAhead = 8;  // slots that are asked for before they are read
constexpr float kNever = -1e30f;  // a score that no softmax counts

// exp for x <= 0, to about 2 ulp; vectorises, where a call of the C library's does not.
inline float Exp(float x) {
  x = std::max(x, -87.0f);
  const float n = __builtin_rintf(x * 1.44269504088896341f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

inline float SoftCap(float score, float cap) {
  const float e = Exp(-2.0f * std::abs(score / cap));
  return std::copysign(cap * (1.0f - e) / (1.0f + e), score);
}

// Neighbouring slots: keys and values [count, kv_heads, dim], from one head's on where it is about one head.
struct Slots {
  const float* keys;
  const float* values;
  int64_t count;
};

struct Problem {
  int64_t time, heads, dim, all_kv_heads, window;  // window: 0 where the whole context is seen
  float scale, softcap;                            // softcap: 0 for none
  int64_t kv_heads;                                // that one core works on
  int64_t group() const { return heads / all_kv_heads; }
  int64_t queries() const { return time * group(); }     // of a kv head
  int64_t stride() const { return all_kv_heads * dim; }  // from slot to slot
};

// score[j][q] = key[j] . query[q] for kSlots neighbouring slots and kWide queries; `turned` is [dim, lines], as are
// the scores [slots, lines].
template <int kDim, int kSlots, int kWide>
void Dots(const float* turned, const float* keys, int64_t stride, int64_t dim_, int64_t lines, float* score) {
  const int64_t dim = kDim ? kDim : dim_;
  constexpr int kParts = kWide / kLanes;
  Lanes sum[kSlots][kParts] = {};
  for (int64_t d = 0; d < dim; ++d)
    for (int j = 0; j < kSlots; ++j)
      for (int q = 0; q < kParts; ++q) sum[j][q] += keys[j * stride + d] * At(turned + d * lines + q * kLanes);
  for (int j = 0; j < kSlots; ++j)
    for (int q = 0; q < kParts; ++q) At(score + j * lines + q * kLanes) = sum[j][q];
}

// For all slots; so many at a time that there is enough to do while a sum waits for its last product.
template <int kDim, int kSlots, int kWide>
void ScoresOf(const Problem& p, const float* turned, int64_t lines, const Slots& slots, float* score) {
  int64_t j = 0;
  for (; j + kSlots <= slots.count; j += kSlots)
    Dots<kDim, kSlots, kWide>(turned, slots.keys + j * p.stride(), p.stride(), p.dim, lines, score + j * lines);
  for (; j < slots.count; ++j)
    Dots<kDim, 1, kWide>(turned, slots.keys + j * p.stride(), p.stride(), p.dim, lines, score + j * lines);
}

template <int kDim>
void Scores(const Problem& p, const float* turned, int64_t lines, const Slots& slots, float* score) {
  int64_t q = 0;
  for (; q + 2 * kLanes <= lines; q += 2 * kLanes)
    ScoresOf<kDim, 4, 2 * kLanes>(p, turned + q, lines, slots, score + q);
  if (q < lines) ScoresOf<kDim, 4, kLanes>(p, turned + q, lines, slots, score + q);
}

// out[q] += sum over j of weight[j][q] value[j], for kQueries queries and kWidth of a head's numbers.
template <int kQueries, int kWidth>
void Blend(const Problem& p, const float* weight, int64_t lines, const float* values, int64_t count, float* out) {
  float sum[kQueries][kWidth];
  for (int q = 0; q < kQueries; ++q)
    for (int d = 0; d < kWidth; ++d) sum[q][d] = out[q * p.dim + d];
  for (int64_t j = 0; j < count; ++j)
    for (int q = 0; q < kQueries; ++q)
      for (int d = 0; d < kWidth; ++d) sum[q][d] += weight[j * lines + q] * values[j * p.stride() + d];
  for (int q = 0; q < kQueries; ++q)
    for (int d = 0; d < kWidth; ++d) out[q * p.dim + d] = sum[q][d];
}

template <int kWidth>
void BlendAll(const Problem& p, const float* weight, int64_t lines, const Slots& slots, float* out) {
  for (int64_t d = 0; d < p.dim; d += kWidth) {
    int64_t q = 0;
    for (; q + 4 <= p.queries(); q += 4)
      Blend<4, kWidth>(p, weight + q, lines, slots.values + d, slots.count, out + q * p.dim + d);
    for (; q < p.queries(); ++q)
      Blend<1, kWidth>(p, weight + q, lines, slots.values + d, slots.count, out + q * p.dim + d);
  }
}

// Asks for a slot of some heads, line by line of 64 bytes. Left to itself a core looks ahead no further than a page of
// 4 KB; nor need weights make room in the caches for what is read once a step.
inline void Fetch(const Problem& p, const float* array, int64_t slot, int64_t count) {
  if (slot >= count) return;
  for (int64_t d = 0; d < p.kv_heads * p.dim; d += 16) __builtin_prefetch(array + slot * p.stride() + d, 0, 0);
}

// score[h][q][j], with `width` slots a line, for a few queries: each number of a head is a lane, and memory is read in
// one go.
template <int kDim>
void ScoresOfFew(const Problem& p, const float* query, const Slots& slots, float* score, int64_t width) {
  const int64_t dim = kDim ? kDim : p.dim, queries = p.queries();
  for (int64_t j = 0; j < slots.count; ++j) {
    Fetch(p, slots.keys, j + kAhead, slots.count);
    for (int64_t h = 0; h < p.kv_heads; ++h)
      for (int64_t q = h * queries; q < (h + 1) * queries; ++q) {
        float sum = 0;
        for (int64_t d = 0; d < dim; ++d) sum += query[q * dim + d] * slots.keys[j * p.stride() + h * dim + d];
        score[q * width + j] = sum;
      }
  }
}

// out[h][q] += sum over kSlots slots of weight[h][q][j] value[j][h].
template <int kDim, int kSlots>
void BlendOfFew(const Problem& p, const float* weight, int64_t width, const float* values, float* out) {
  const int64_t dim = kDim ? kDim : p.dim, queries = p.queries();
  for (int64_t h = 0; h < p.kv_heads; ++h)
    for (int64_t q = h * queries; q < (h + 1) * queries; ++q)
      for (int64_t d = 0; d < dim; ++d) {
        float sum = out[q * dim + d];
        for (int j = 0; j < kSlots; ++j) sum += weight[q * width + j] * values[j * p.stride() + h * dim + d];
        out[q * dim + d] = sum;
      }
}

template <int kDim>
void BlendAllOfFew(const Problem& p, const float* weight, int64_t width, const Slots& slots, float* out) {
  int64_t j = 0;
  for (; j + 4 <= slots.count; j += 4) {
    for (int64_t i = 0; i < 4; ++i) Fetch(p, slots.values, j + kAhead + i, slots.count);
    BlendOfFew<kDim, 4>(p, weight + j, width, slots.values + j * p.stride(), out);
  }
  for (; j < slots.count; ++j) BlendOfFew<kDim, 1>(p, weight + j, width, slots.values + j * p.stride(), out);
}

// What a query sees of its line of slots: from `first` to `last`, its own.
struct Sight {
  Sight(const Problem& p, int64_t own, int64_t query)
      : last(own + query / p.group()), first(p.window ? std::max<int64_t>(0, last - p.window + 1) : 0) {}
  int64_t last, first;
};

// Scores [width, lines] to weights; the first query's own slot is `own`. Lines past the last query repeat it.
void Softmax(const Problem& p, float* score, int64_t width, int64_t lines, int64_t own) {
  for (int64_t from = 0; from < lines; from += kLanes) {
    int32_t first[kLanes], last[kLanes];
    float highest[kLanes], total[kLanes];
    for (int q = 0; q < kLanes; ++q) {
      const Sight sight(p, own, std::min(from + q, p.queries() - 1));
      first[q] = sight.first;
      last[q] = sight.last;
      highest[q] = kNever;
      total[q] = 0;
    }
    float* line = score + from;
    // Where all see a slot, which is nearly everywhere, nothing is compared.
    const int64_t seen_from = first[kLanes - 1], seen_to = last[0] + 1;
    for (int64_t j = 0; j < width; ++j)
      for (int q = 0; q < kLanes; ++q) {
        float& s = line[j * lines + q];
        if (j < seen_from || j >= seen_to) s = j >= first[q] && j <= last[q] ? s : kNever;
        highest[q] = std::max(highest[q], s);
      }
    for (int64_t j = 0; j < width; ++j)
      for (int q = 0; q < kLanes; ++q) total[q] += line[j * lines + q] = Exp(line[j * lines + q] - highest[q]);
    for (int q = 0; q < kLanes; ++q) total[q] = 1.0f / total[q];
    for (int64_t j = 0; j < width; ++j)
      for (int q = 0; q < kLanes; ++q) line[j * lines + q] *= total[q];
  }
}

// The same for a few queries of every head, scores [kv_heads, queries, width].
void SoftmaxOfFew(const Problem& p, float* score, int64_t width, int64_t own) {
  for (int64_t i = 0; i < p.kv_heads * p.queries(); ++i) {
    float* line = score + i * width;
    const Sight sight(p, own, i % p.queries());
    float highest = kNever, total = 0;
    for (int64_t j = sight.first; j <= sight.last; ++j) highest = std::max(highest, line[j]);
    for (int64_t j = sight.first; j <= sight.last; ++j) total += line[j] = Exp(line[j] - highest);
    const float share = 1.0f / total;
    for (int64_t j = sight.first; j <= sight.last; ++j) line[j] *= share;
    std::fill(line, line + sight.first, 0.0f);
    std::fill(line + sight.last + 1, line + width, 0.0f);
  }
}

// One row and one kv head. `query` and `out` begin at the row's first token and the first head of the group, the slots
// at the head. The first query's own slot among the fresh ones is `slot`.
template <int kDim>
void Head(const Problem& p, const float* query, const Slots& kept, const Slots& fresh, int64_t slot, float* out) {
  const int64_t dim = kDim ? kDim : p.dim, group = p.group(), width = kept.count + fresh.count;
  const int64_t lines = (p.queries() + kLanes - 1) / kLanes * kLanes;
  thread_local std::vector<float> turned, score, sum;
  turned.assign(lines * dim, 0.0f);
  score.resize(width * lines);
  sum.assign(p.queries() * dim, 0.0f);
  float* later = score.data() + kept.count * lines;
  for (int64_t q = 0; q < p.queries(); ++q)
    for (int64_t d = 0; d < dim; ++d)
      turned[d * lines + q] = query[(q / group * p.heads + q % group) * dim + d] * p.scale;
  Scores<kDim>(p, turned.data(), lines, kept, score.data());
  Scores<kDim>(p, turned.data(), lines, fresh, later);
  if (p.softcap != 0)
    for (float& one : score) one = SoftCap(one, p.softcap);
  Softmax(p, score.data(), width, lines, kept.count + slot);
  constexpr int kWidth = kDim && kDim < 64 ? kDim : kDim ? 64 : 16;
  BlendAll<kWidth>(p, score.data(), lines, kept, sum.data());
  BlendAll<kWidth>(p, later, lines, fresh, sum.data());
  for (int64_t q = 0; q < p.queries(); ++q)
    std::memcpy(out + (q / group * p.heads + q % group) * dim, &sum[q * dim], dim * sizeof(float));
}

template <int kDim>
void RowOfMany(const Problem& p, const float* query, const Slots& kept, const Slots& fresh, int64_t slot, float* out) {
  for (int64_t h = 0; h < p.kv_heads; ++h) {
    const int64_t at = h * p.dim, first = h * p.group() * p.dim;
    const Slots old{kept.keys + at, kept.values + at, kept.count};
    const Slots said{fresh.keys + at, fresh.values + at, fresh.count};
    Head<kDim>(p, query + first, old, said, slot, out + first);
  }
}

// One row, all heads, a few queries each.
template <int kDim>
void RowOfFew(const Problem& p, const float* query, const Slots& kept, const Slots& fresh, int64_t slot, float* out) {
  const int64_t dim = kDim ? kDim : p.dim, queries = p.queries(), width = kept.count + fresh.count;
  thread_local std::vector<float> asked, score, sum;
  asked.resize(p.kv_heads * queries * dim);
  score.resize(p.kv_heads * queries * width);
  sum.assign(asked.size(), 0.0f);
  // From [time, kv_heads, group, dim] to [kv_heads, time, group, dim], and back.
  const auto place = [&](int64_t t, int64_t h) { return (h * p.time + t) * p.group() * dim; };
  for (int64_t t = 0; t < p.time; ++t)
    for (int64_t h = 0; h < p.kv_heads; ++h)
      for (int64_t i = 0; i < p.group() * dim; ++i)
        asked[place(t, h) + i] = query[(t * p.heads + h * p.group()) * dim + i] * p.scale;
  ScoresOfFew<kDim>(p, asked.data(), kept, score.data(), width);
  ScoresOfFew<kDim>(p, asked.data(), fresh, score.data() + kept.count, width);
  if (p.softcap != 0)
    for (float& one : score) one = SoftCap(one, p.softcap);
  SoftmaxOfFew(p, score.data(), width, kept.count + slot);
  BlendAllOfFew<kDim>(p, score.data(), width, kept, sum.data());
  BlendAllOfFew<kDim>(p, score.data() + kept.count, width, fresh, sum.data());
  for (int64_t t = 0; t < p.time; ++t)
    for (int64_t h = 0; h < p.kv_heads; ++h)
      std::memcpy(out + (t * p.heads + h * p.group()) * dim, &sum[place(t, h)], p.group() * dim * sizeof(float));
}

template <int kDim>
void Row(const Problem& p, const float* query, const Slots& kept, const Slots& fresh, int64_t slot, float* out) {
  const auto row = p.queries() < 8 ? RowOfFew<kDim> : RowOfMany<kDim>;
  row(p, query, kept, fresh, slot, out);
}

using Array = ffi::Buffer<ffi::F32>;
using Numbers = ffi::Buffer<ffi::S32>;

ffi::Error Attend(ffi::ThreadPool pool, Array query, Array keys, Array values, Numbers rows, Numbers start,
                  Array fresh_keys, Array fresh_values, Numbers slot, ffi::Buffer<ffi::PRED> is_local, ffi::ResultBuffer<ffi::F32> out,
                  int64_t window, float scale, float softcap, bool shared) {
  const auto q = query.dimensions(), k = keys.dimensions(), f = fresh_keys.dimensions();
  const int64_t all = k[0], capacity = k[1], kv_heads = k[2], room = f[1], at = slot.typed_data()[0];
  const int64_t parts = shared ? std::clamp<int64_t>(sml_jax::Crew::Size(pool) / q[0], 1, kv_heads) : 1;
  const bool local = is_local.typed_data()[0];
  const Problem whole{q[1], q[2], q[3], kv_heads, local ? window : 0, scale, softcap, kv_heads};
  if (whole.dim % 16 || f[0] != q[0] || at < 0 || at + whole.time > room)
    return ffi::Error::InvalidArgument("attend: shapes");
  const auto attend = whole.dim == 32    ? Row<32>
                      : whole.dim == 64  ? Row<64>
                      : whole.dim == 128 ? Row<128>
                      : whole.dim == 256 ? Row<256>
                                         : Row<0>;
  // Some heads of a row.
  const auto run = [&](int64_t part) {
    const int64_t i = part / parts, first = kv_heads * (part % parts) / parts;
    Problem p = whole;
    p.kv_heads = kv_heads * (part % parts + 1) / parts - first;
    const int64_t row = std::clamp<int64_t>(rows.typed_data()[i], 0, all - 1);
    const int64_t held = std::clamp<int64_t>(start.typed_data()[i], 0, capacity);
    // What no query of a local layer sees is not read.
    const int64_t from = p.window ? std::clamp<int64_t>(held + at - p.window + 1, 0, held) : 0;
    const int64_t old = (row * capacity + from) * p.stride() + first * p.dim;
    const int64_t said = i * room * p.stride() + first * p.dim;
    const Slots kept{keys.typed_data() + old, values.typed_data() + old, held - from};
    const Slots fresh{fresh_keys.typed_data() + said, fresh_values.typed_data() + said, at + p.time};
    const int64_t place = (i * p.time * p.heads + first * p.group()) * p.dim;
    attend(p, query.typed_data() + place, kept, fresh, at, out->typed_data() + place);
  };
  if (shared)
    sml_jax::TheCrew().Run(pool, parts * q[0], run);
  else
    for (int64_t i = 0; i < q[0]; ++i) run(i);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(SmlJaxAttend, Attend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Numbers>()
                                  .Arg<Numbers>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Numbers>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("window")
                                  .Attr<float>("scale")
                                  .Attr<float>("softcap")
                                  .Attr<bool>("shared"));
