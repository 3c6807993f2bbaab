// Every part of every piece is run once, whoever calls and however many threads a pool has. Built by test_crew.py with
// ThreadSanitizer, which ends the program where two threads touch the same memory out of order.

#include "crew.h"

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

namespace {

// As XLA's: tasks that some threads take in turn.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
  }
  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    more_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  int64_t num_threads() const { return threads_.size(); }
  void Schedule(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    more_.notify_one();
  }

 private:
  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      more_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

// A pool whose threads never come.
struct Nobody {
  int64_t num_threads() const { return 4; }
  void Schedule(std::function<void()>) {}
};

// Pieces on the caller's own memory, which is gone when a piece is done.
template <typename P>
void Call(sml_jax::Crew& crew, P& pool, int pieces, uint64_t seed) {
  for (int piece = 0; piece < pieces; ++piece) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const int64_t parts = 1 + (seed >> 33) % 9;
    auto runs = std::make_unique<std::vector<int>>(parts, 0);
    crew.Run(pool, parts, [&](int64_t part) { ++(*runs)[part]; });
    for (int count : *runs)
      if (count != 1) {
        std::printf("a part of %d ran %d times\n", static_cast<int>(parts), count);
        std::exit(1);
      }
    if ((seed >> 40) % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds((seed >> 50) % 300));
  }
}

}  // namespace

int main() {
  for (int threads : {1, 2, 5}) {
    sml_jax::Crew crew;
    Pool pool(threads);
    Call(crew, pool, 5000, threads);
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i) callers.emplace_back([&, i] { Call(crew, pool, 5000, 10 + i); });
    for (auto& caller : callers) caller.join();
  }
  sml_jax::Crew alone;
  Nobody nobody;
  Call(alone, nobody, 1000, 7);
  std::puts("all parts ran once");
}
