// Every accepted job reaches exactly one end, whatever order things happen in.
#include "server/jobs/board.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "server/jobs/sessions.h"

namespace inkling::server {
namespace {

struct Fixture : ::testing::Test {
  double now = 100;
  std::map<std::string, int> ends;
  std::vector<std::string> abandoned;
  BoardLimits limits{.keep_seconds = 60, .keep_bytes = 1000, .keep_jobs = 50, .attempts = 2};
  std::unique_ptr<JobBoard> made;

  JobBoard& board() {
    if (!made)
      made = std::make_unique<JobBoard>(
          limits, [this] { return now; },
          JobBoard::Hooks{[this](const Job& j) { ++ends[j.id]; },
                          [this](const std::string& w) { abandoned.push_back(w); }});
    return *made;
  }
  JobPointer submit(const std::string& id, const std::string& key = "", double deadline = 0) {
    auto job = std::make_shared<Job>();
    job->id = id;
    job->owner = "me";
    job->deadline = deadline;
    Work work;
    work.key = key;
    board().enqueue(job, work);
    return job;
  }
  std::shared_ptr<Work> take() {
    const auto batch =
        board().take([](const Work&) { return true; }, [](const Work&, const Work&) { return false; }, 1);
    return batch.empty() ? nullptr : batch.front();
  }
  static std::vector<Picture> picture(size_t bytes = 10) {
    return {{std::make_shared<const std::string>(bytes, 'p'), 1, 1, 0}};
  }
};

TEST_F(Fixture, DrawsInTurn) {
  const auto a = submit("a"), b = submit("b");
  EXPECT_EQ(board().position(*b), 1u);
  const auto work = take();
  EXPECT_EQ(a->status, JobStatus::running);
  EXPECT_EQ(board().position(*b), 0u);
  board().succeed(work, picture(), {"note"}, {});
  EXPECT_EQ(a->status, JobStatus::succeeded);
  EXPECT_EQ(a->pictures.size(), 1u);
  EXPECT_EQ(ends["a"], 1);
  EXPECT_EQ(board().find("a", "me"), a);
  EXPECT_EQ(board().find("a", "other"), nullptr) << "another key's job is not there";
}

TEST_F(Fixture, EqualWishesShareOneDrawingUntilTheLastLeaves) {
  const auto a = submit("a", "key"), b = submit("b", "key"), c = submit("c", "other");
  EXPECT_EQ(board().waiting(), 2u);
  const auto work = take();
  const auto late = submit("d", "key");
  EXPECT_EQ(late->status, JobStatus::running) << "joins what is being drawn";
  board().cancel(a);
  board().cancel(late);
  EXPECT_TRUE(abandoned.empty());
  board().cancel(b);
  EXPECT_EQ(abandoned, std::vector<std::string>{"a"});
  board().stopped(work);
  EXPECT_EQ(board().running(), 0u);
  EXPECT_EQ(ends["a"] + ends["b"] + ends["d"], 3);
  const auto again = submit("e", "key");
  EXPECT_EQ(again->status, JobStatus::queued) << "a work that was given up is not joined";
  EXPECT_EQ(c->status, JobStatus::queued);
}

TEST_F(Fixture, AWorkerThatDiesCostsOneMoreTry) {
  const auto a = submit("a"), b = submit("b");
  board().lost(take(), "signal 9");
  EXPECT_EQ(a->status, JobStatus::queued);
  EXPECT_EQ(board().position(*a), 0u) << "back to the head of the line";
  board().lost(take(), "signal 9");
  EXPECT_EQ(a->status, JobStatus::failed);
  EXPECT_EQ(a->error->status, 500);
  EXPECT_FALSE(a->error->worth_a_retry);
  EXPECT_EQ(ends["a"], 1);
  EXPECT_EQ(b->status, JobStatus::queued);
}

TEST_F(Fixture, CancelIsIdempotentAndAnEndIsFinal) {
  const auto a = submit("a"), b = submit("b");
  board().cancel(b);
  board().cancel(b);
  EXPECT_EQ(ends["b"], 1);
  EXPECT_EQ(board().waiting(), 1u);
  const auto work = take();
  board().succeed(work, picture(), {}, {});
  board().cancel(a);
  EXPECT_EQ(a->status, JobStatus::succeeded);
  EXPECT_EQ(ends["a"], 1);
}

TEST_F(Fixture, DeadlinesEndWaitingJobsWithoutAWorker) {
  const auto a = submit("a", "", now + 5), b = submit("b", "", now + 50);
  now += 6;
  board().tick();
  EXPECT_EQ(a->status, JobStatus::failed);
  EXPECT_EQ(a->error->code, "deadline_exceeded");
  EXPECT_EQ(board().waiting(), 1u);
  EXPECT_EQ(take()->jobs.front(), b);
}

TEST_F(Fixture, OldResultsGoByTimeBytesAndNumber) {
  for (int i = 0; i < 3; ++i) {
    submit(fmt::format("j{}", i));
    board().succeed(take(), picture(400), {}, {});
  }
  EXPECT_EQ(board().find("j0", "me"), nullptr) << "three of 400 bytes do not fit into 1,000";
  EXPECT_NE(board().find("j1", "me"), nullptr);
  now += 61;
  board().tick();
  EXPECT_EQ(board().find("j2", "me"), nullptr);
}

TEST_F(Fixture, IdempotencyKeysLiveAsLongAsTheirJob) {
  const auto a = submit("a");
  board().set_idempotency_key(a, "k");
  EXPECT_EQ(board().by_idempotency_key("me", "k"), a);
  EXPECT_EQ(board().by_idempotency_key("you", "k"), nullptr);
  board().cancel(a);
  now += 61;
  board().tick();
  EXPECT_EQ(board().by_idempotency_key("me", "k"), nullptr);
}

TEST_F(Fixture, ListenersHearEveryChangeAndTheEndOnce) {
  const auto a = submit("a");
  std::vector<std::string> heard;
  uint64_t number = 0;
  number = board().listen(a, [&](const Job& j, const Job::Event& e) {
    heard.push_back(std::string(name(j.status)) + " " + std::to_string(e.step));
    if (e.step == 2) board().unlisten(a, number);  // leaves while it is told
  });
  int other = 0;
  board().listen(a, [&](const Job&, const Job::Event&) { ++other; });
  const auto work = take();
  board().progress(*work, "denoise", 1, 4);
  board().progress(*work, "denoise", 2, 4);
  board().progress(*work, "denoise", 3, 4);
  board().succeed(work, picture(), {}, {});
  EXPECT_EQ(heard, (std::vector<std::string>{"running 0", "running 1", "running 2"}));
  EXPECT_EQ(other, 5);
}

// A storm: random submits, cancels, batches, deaths and ends; then everything is drained.
TEST_F(Fixture, EveryJobEndsExactlyOnceInAnyOrder) {
  limits.keep_jobs = 100'000;
  limits.keep_bytes = 1 << 30;
  limits.keep_seconds = 1e9;
  std::mt19937 random(11);
  std::vector<JobPointer> jobs;
  std::vector<std::shared_ptr<Work>> running;
  for (int i = 0; i < 20'000; ++i) {
    now += 0.01;
    const auto pick = [&](auto& list) { return list[random() % list.size()]; };
    switch (random() % 6) {
      case 0:
      case 1:
        jobs.push_back(submit(fmt::format("s{}", i), random() % 3 == 0 ? fmt::format("k{}", random() % 5) : "",
                              random() % 4 == 0 ? now + 0.05 : 0));
        break;
      case 2:
        if (!jobs.empty()) board().cancel(pick(jobs));
        break;
      case 3:
        for (auto& w : board().take([](const Work&) { return true; },
                                    [&](const Work&, const Work&) { return random() % 2 == 0; }, 4))
          running.push_back(w);
        break;
      case 4:
        if (!running.empty()) {
          const auto work = pick(running);
          std::erase(running, work);
          switch (random() % 4) {
            case 0: board().succeed(work, picture(1), {}, {}); break;
            case 1: board().fail(work, bad_request("no")); break;
            case 2: board().lost(work, "died"); break;
            default:
              if (work->jobs.empty())
                board().stopped(work);
              else
                board().succeed(work, picture(1), {}, {});
          }
        }
        break;
      default: board().tick();
    }
  }
  for (const auto& work : running) board().fail(work, bad_request("end"));
  while (const auto work = take()) board().succeed(work, picture(1), {}, {});
  EXPECT_EQ(board().waiting() + board().running(), 0u);
  for (const JobPointer& job : jobs) EXPECT_EQ(ends[job->id], 1) << job->id;
  const BoardTotals& t = board().totals();
  EXPECT_EQ(t.accepted, jobs.size());
  EXPECT_EQ(t.accepted, t.done + t.failed + t.cancelled);
}

TEST(Sessions, AreBoundedAndPrivate) {
  double now = 0;
  Sessions sessions({.sessions = 3, .bytes = 100, .idle_seconds = 50, .chain = 4}, [&] { return now; });
  const auto picture = [](size_t n) { return std::make_shared<const std::string>(n, 'x'); };
  const auto a = sessions.create("me", picture(10), 0);
  EXPECT_TRUE(a->id.starts_with("ses_"));
  EXPECT_EQ(sessions.find(a->id, "you"), nullptr);
  now = 1;
  const auto b = sessions.create("me", picture(60), 0);
  now = 2;
  sessions.add(*b, b->history.head(), "make it blue", picture(35), false, 0);
  EXPECT_EQ(sessions.find(a->id, "me"), nullptr) << "the one that was not used for longest makes room";
  EXPECT_EQ(b->json(4)["nodes"].size(), 2u);
  now = 60;
  sessions.tick();
  EXPECT_EQ(sessions.size(), 0u);
}

}  // namespace
}  // namespace inkling::server
