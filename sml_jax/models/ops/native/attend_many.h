// Attention of many queries, as of a text that is given: arithmetic is nearly all there is to do. Each query is a lane.
// Slots come in chunks, of all heads, so that memory is read in one go and each chunk once; the softmax goes along with
// them ("online": Milakov and Gimelshein, arXiv 1805.02867).

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "attend.h"
#include "lanes.h"

namespace sml_jax {

constexpr int64_t kChunk = 32;  // slots

using Whole = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

// `Exp` of lanes; rounds x log2(e) by cutting off, as it is at most 0.
inline Lanes Exp(Lanes x) {
  x = x > -87.0f ? x : -87.0f;
  const Whole whole = __builtin_convertvector(x * 1.44269504088896341f - 0.5f, Whole);
  const Lanes n = __builtin_convertvector(whole, Lanes);
  return ExpBeside(x, n) * reinterpret_cast<Lanes>((whole + 127) << 23);
}

// kLines queries of one kv head, and what they have gathered: out[d][q] over the slots so far, their weights added up in
// total[q], relative to the highest score.
template <int kLines>
struct Queries {
  float* turned;  // [dim, kLines]
  float* out;     // [dim, kLines]
  float highest[kLines], total[kLines];
};

// score[j][q] = key[j] . query[q] for kSlots neighbouring slots. Meanwhile those `ahead` are asked for, little by little:
// a core waits when it has asked for more than it can hold.
template <int kDim, int kSlots, int kLines>
void Dots(const float* turned, const float* keys, int64_t stride, int64_t dim_, int64_t ahead, float* score) {
  const int64_t dim = kDim ? kDim : dim_;
  constexpr int kParts = kLines / kLanes;
  Lanes sum[kSlots][kParts] = {};
  for (int64_t d = 0; d < dim; ++d) {
    if (d < kSlots * dim / kFetched) __builtin_prefetch(keys + ahead + d % kSlots * stride + d / kSlots * kFetched);
    for (int j = 0; j < kSlots; ++j)
      for (int q = 0; q < kParts; ++q) sum[j][q] += keys[j * stride + d] * Load(turned + d * kLines + q * kLanes);
  }
  for (int j = 0; j < kSlots; ++j)
    for (int q = 0; q < kParts; ++q) Store(score + j * kLines + q * kLanes, sum[j][q]);
}

// out[d][q] = out[d][q] fade[q] + sum over j of weight[j][q] value[j][d] for kWidth of a head's numbers.
template <int kWidth, int kLines>
void Blend(const float* weight, const float* fade, const float* values, int64_t stride, int64_t count, int64_t ahead,
           float* out) {
  constexpr int kParts = kLines / kLanes;
  Lanes sum[kWidth][kParts];
  for (int d = 0; d < kWidth; ++d)
    for (int q = 0; q < kParts; ++q) sum[d][q] = Load(out + d * kLines + q * kLanes) * Load(fade + q * kLanes);
  for (int64_t j = 0; j < count; ++j) {
    __builtin_prefetch(values + ahead + j * stride);
    for (int d = 0; d < kWidth; ++d)
      for (int q = 0; q < kParts; ++q) sum[d][q] += values[j * stride + d] * Load(weight + j * kLines + q * kLanes);
  }
  for (int d = 0; d < kWidth; ++d)
    for (int q = 0; q < kParts; ++q) Store(out + d * kLines + q * kLanes, sum[d][q]);
}

// Scores to weights, relative to the highest score so far; fade[q] is by how much what was gathered before loses.
template <int kLines>
void Weigh(float* score, int64_t count, Queries<kLines>& queries, float* fade) {
  for (int q = 0; q < kLines; q += kLanes) {
    const Lanes before = Load(queries.highest + q);
    Lanes highest = before, total = {};
    for (int64_t j = 0; j < count; ++j) {
      const Lanes s = Load(score + j * kLines + q);
      highest = s > highest ? s : highest;
    }
    for (int64_t j = 0; j < count; ++j) {
      const Lanes weight = Exp(Load(score + j * kLines + q) - highest);
      total += weight;
      Store(score + j * kLines + q, weight);
    }
    const Lanes less = Exp(before - highest);
    Store(fade + q, less);
    Store(queries.highest + q, highest);
    Store(queries.total + q, Load(queries.total + q) * less + total);
  }
}

// Takes in a chunk of one head's slots, of which the first is number `from` of the row. The next chunk's numbers lie
// `ahead` of this one's.
template <int kDim, int kLines>
void TakeIn(const Problem& p, const Slots& slots, int64_t from, int64_t ahead, const Sight* sights,
            Queries<kLines>& queries) {
  constexpr int kSlots = kSums * kLanes / kLines;
  float score[kChunk * kLines], fade[kLines];
  const auto dots = [&](auto count, int64_t first) {
    const float* keys = slots.keys + first * p.stride();
    Dots<kDim, count, kLines>(queries.turned, keys, p.stride(), p.dim, ahead, score + first * kLines);
  };
  int64_t j = 0;
  for (; j + kSlots <= slots.count; j += kSlots) dots(std::integral_constant<int, kSlots>(), j);
  for (; j < slots.count; ++j) dots(std::integral_constant<int, 1>(), j);
  if (p.softcap != 0)
    for (int64_t i = 0; i < slots.count * kLines; ++i) score[i] = SoftCap(score[i], p.softcap);
  // Where all see all slots, which is nearly everywhere, nothing is compared.
  if (from < sights[kLines - 1].first || from + slots.count - 1 > sights[0].last)
    for (j = 0; j < slots.count; ++j)
      for (int q = 0; q < kLines; ++q)
        if (from + j < sights[q].first || from + j > sights[q].last) score[j * kLines + q] = kNever;
  Weigh<kLines>(score, slots.count, queries, fade);
  for (int64_t d = 0; d < p.dim; d += kSlots)
    Blend<kSlots, kLines>(score, fade, slots.values + d, p.stride(), slots.count, ahead, queries.out + d * kLines);
}

// Up to kLines queries from number `first` on, of every head of a row.
template <int kDim, int kLines>
void Lines(const Problem& p, const float* query, const Slots& kept, const Slots& fresh, int64_t own, int64_t first,
           float* out) {
  const int64_t dim = kDim ? kDim : p.dim, group = p.group(), size = dim * kLines;
  const int64_t count = std::min<int64_t>(kLines, p.queries() - first);
  thread_local std::vector<float> numbers;
  thread_local std::vector<Queries<kLines>> heads;
  numbers.assign(2 * p.kv_heads * size, 0.0f);
  heads.resize(p.kv_heads);
  const auto place = [&](int64_t h, int64_t q) {
    return ((first + q) / group * p.heads + h * group + (first + q) % group) * dim;
  };
  std::vector<Sight> sights;  // lines past the last query repeat it
  for (int64_t q = 0; q < kLines; ++q) sights.emplace_back(p, own, std::min(first + q, p.queries() - 1));
  for (int64_t h = 0; h < p.kv_heads; ++h) {
    Queries<kLines>& head = heads[h];
    head.turned = numbers.data() + 2 * h * size;
    head.out = head.turned + size;
    std::fill(head.highest, head.highest + kLines, kNever);
    std::fill(head.total, head.total + kLines, 0.0f);
    for (int64_t q = 0; q < count; ++q)
      for (int64_t d = 0; d < dim; ++d) head.turned[d * kLines + q] = query[place(h, q) + d] * p.scale;
  }
  const auto take = [&](const Slots& slots, int64_t before) {
    const int64_t end = std::min(slots.count, sights.back().last + 1 - before);
    for (int64_t j = std::max<int64_t>(0, sights[0].first - before); j < end; j += kChunk) {
      const int64_t ahead = j + kChunk < end ? kChunk * p.stride() : 0;
      for (int64_t h = 0; h < p.kv_heads; ++h) {
        const int64_t at = j * p.stride() + h * p.dim;
        const Slots chunk{slots.keys + at, slots.values + at, std::min(kChunk, end - j)};
        TakeIn<kDim, kLines>(p, chunk, before + j, ahead, sights.data(), heads[h]);
      }
    }
  };
  take(kept, 0);
  take(fresh, kept.count);
  for (int64_t h = 0; h < p.kv_heads; ++h)
    for (int64_t q = 0; q < count; ++q) {
      const float share = 1.0f / heads[h].total[q];
      for (int64_t d = 0; d < dim; ++d) out[place(h, q) + d] = heads[h].out[d * kLines + q] * share;
    }
}

// One row, all heads.
template <int kDim>
void RowOfMany(const Problem& p, const float* query, const Slots& kept, const Slots& fresh, int64_t slot, float* out) {
  const int64_t own = kept.count + slot;
  int64_t first = 0;
  for (; first + kLanes < p.queries(); first += 2 * kLanes)
    Lines<kDim, 2 * kLanes>(p, query, kept, fresh, own, first, out);
  if (first < p.queries()) Lines<kDim, kLanes>(p, query, kept, fresh, own, first, out);
}

}  // namespace sml_jax
