#include "server/policy/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace inkling::server {

namespace {
Admission::Decision refuse(int status, double wait, double retry, std::string reason) {
  return {false, wait, std::max(1.0, std::ceil(retry)), std::move(reason), status};
}
}  // namespace

Admission::Decision Admission::decide(double work_ahead_s, int waiting, double service_s, double deadline_s,
                                      int capacity) const {
  constexpr double kNobodyRetry = 10;  // a worker starts and draws its first picture in about this
  if (capacity < 1) return refuse(503, 0, kNobodyRetry, "no device can work at present");
  const double wait = work_ahead_s / capacity;
  if (waiting <= 0) return {.accepted = true, .predicted_wait_s = wait};
  // A place in the queue is free again when one job ahead is over.
  const double one_over = std::max(1.0, work_ahead_s / waiting / capacity);
  int cap = options_.hard_cap;
  if (options_.deadline_cap && service_s > 0) {
    const double places = std::max(1.0, std::floor(deadline_s / service_s)) * capacity;
    if (places < cap) cap = static_cast<int>(places);
  }
  if (waiting >= cap)
    return refuse(429, wait, one_over, fmt::format("the queue is full: {} of {} places", waiting, cap));
  if (options_.predicted_wait && wait + service_s > deadline_s)
    return refuse(429, wait, std::min(wait, wait + service_s - deadline_s),
                  fmt::format("this would take {:.0f} s, longer than its deadline of {:.0f} s",
                              std::ceil(wait + service_s), deadline_s));
  return {.accepted = true, .predicted_wait_s = wait};
}

}  // namespace inkling::server
