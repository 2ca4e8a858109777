// iostream, exceptions across a library call, threads, OpenMP, and cancellation, for which libc
// loads libgcc_s at run time.
#include <iostream>
#include <omp.h>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>

static void *sleeper(void *) {
  for (;;) pause();
}

int main() {
  try {
    std::stoi("not a number");
    return 1;
  } catch (const std::invalid_argument &) {
  }
  int sum = 0;
#pragma omp parallel for reduction(+ : sum)
  for (int i = 1; i <= 100; ++i) sum += i;
  std::thread([&] { sum += omp_get_max_threads(); }).join();

  pthread_t thread;
  void *result = nullptr;
  pthread_create(&thread, nullptr, sleeper, nullptr);
  pthread_cancel(thread);
  pthread_join(thread, &result);
  if (result != PTHREAD_CANCELED) return 1;

  std::cout << "sum " << sum << '\n';
  return sum == 5052 ? 0 : 1;
}
