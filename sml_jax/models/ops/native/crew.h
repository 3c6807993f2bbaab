// Shares short pieces of work, which follow each other closely, among threads of a pool (XLA's, `ffi::ThreadPool`).
//
// Waking a thread takes longer than such a piece of work. A helper that was once started therefore polls for the next
// piece until none has come for `kPatience`. The caller never waits for a helper to start, only for parts that a helper
// has begun.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace sml_jax {

class Crew {
 public:
  // The most threads that work on a piece: a few use up the memory bandwidth.
  template <typename Pool>
  static int64_t Size(const Pool& pool) {
    return std::clamp<int64_t>(pool.num_threads(), 1, 8);
  }

  // Runs parts 0 to `parts` - 1, each once, and returns when all are done. With several callers at a time, only one gets
  // helpers; the others run their parts themselves.
  template <typename Pool>
  void Run(Pool& pool, int64_t parts, const std::function<void(int64_t)>& run) {
    const std::unique_lock<std::mutex> alone(mutex_, std::try_to_lock);
    if (!alone || parts == 1) {
      for (int64_t part = 0; part < parts; ++part) run(part);
      return;
    }
    for (int64_t i = helpers_; i < std::min(parts, Size(pool)) - 1; ++i) {
      ++helpers_;
      pool.Schedule([this] { LookOut(); });
    }
    run_ = &run;
    parts_ = parts;
    next_ = 0;
    ++piece_;  // odd: there is work
    Help();
    ++piece_;
    while (inside_ > 0) Pause();  // helpers that finish their parts, or look for one
  }

 private:
  static constexpr auto kPatience = std::chrono::microseconds(100);

  void Help() {
    for (int64_t part; (part = next_++) < parts_;) (*run_)(part);
  }

  void LookOut() {
    using Clock = std::chrono::steady_clock;
    uint64_t seen = 0;
    for (auto until = Clock::now() + kPatience; Clock::now() < until; Pause()) {
      const uint64_t piece = piece_;
      if (piece % 2 == 0 || piece == seen) continue;
      ++inside_;
      if (piece_ == piece) Help();
      --inside_;
      seen = piece;
      until = Clock::now() + kPatience;
    }
    --helpers_;
  }

  static void Pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
  }

  std::mutex mutex_;
  const std::function<void(int64_t)>* run_ = nullptr;
  int64_t parts_ = 0;
  alignas(64) std::atomic<uint64_t> piece_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int64_t> inside_{0}, helpers_{0};
};

// The only crew: helpers of two crews would poll on the same cores.
inline Crew& TheCrew() {
  static Crew crew;
  return crew;
}

}  // namespace sml_jax
