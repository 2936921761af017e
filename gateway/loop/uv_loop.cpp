#include "loop/uv_loop.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <uv.h>

#include <algorithm>
#include <cerrno>

#include "base/descriptors.h"
#include "base/files.h"
#include "base/logger.h"
#include "base/text.h"
#include "loop/socket_address.h"

namespace millrace {

namespace {
constexpr int accepts_a_turn = 16;      // of each listener: whoever is connected already is served in between
constexpr std::uint64_t rest_ms = 100;  // of a listener that found no descriptor
constexpr Duration idle_worker_stays = std::chrono::minutes(1);

thread_local const UvLoop* turning_here = nullptr;

struct SignalBox {
  uv_signal_t handle;
  std::function<void()> handler;
};
}  // namespace

struct UvLoop::Uv {
  uv_loop_t loop;
  uv_async_t wake;
  uv_idle_t again;  // as `wake`, for what the loop posts itself: no system call
  std::vector<std::unique_ptr<SignalBox>> signals;
  // One buffer for all streams: a read is delivered before the next one begins, and an idle connection costs
  // no buffer.
  char read_buffer[64 << 10];
  uv_prepare_t turning;
  std::uint64_t turn = 1;  // of the loop
  Fd spare;                // given up for a moment where no other is left
  std::uint64_t turned_away = 0;

  void open_spare() { spare = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
};

namespace {

// libuv closes handles asynchronously: the handle outlives its owner until the close callback frees it.
template <typename Box>
void close_box(Box* box) {
  uv_close(reinterpret_cast<uv_handle_t*>(&box->handle),
           [](uv_handle_t* handle) { delete static_cast<Box*>(handle->data); });
}

struct TimerBox {
  uv_timer_t handle;
  Loop::Task task;
  const Clock& clock;
  Instant due;
};

// libuv's time stands still while the machine sleeps, ours does not: a long wait looks now and then, all of
// them at the same time.
constexpr std::uint64_t look_every_ms = 2000;

void wait_for(TimerBox* box, Duration delay) {
  const bool looks_again = delay > std::chrono::milliseconds(look_every_ms);
  // libuv counts in milliseconds from its cached time: refresh it, and round up, so a timer is never early.
  uv_update_time(box->handle.loop);
  const auto rest =
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, (delay.count() + 999'999) / 1'000'000));
  const std::uint64_t ms = looks_again ? look_every_ms - uv_now(box->handle.loop) % look_every_ms : rest;
  const auto run = [](uv_timer_t* handle) {
    // the task may destroy its own Timer
    const auto task = std::move(static_cast<TimerBox*>(handle->data)->task);
    task();
  };
  const auto look = [](uv_timer_t* handle) {
    auto* waiting = static_cast<TimerBox*>(handle->data);
    wait_for(waiting, waiting->due - waiting->clock.now());
  };
  uv_timer_start(&box->handle, looks_again ? uv_timer_cb{look} : uv_timer_cb{run}, ms, 0);
}

class UvTimer final : public Timer {
 public:
  UvTimer(uv_loop_t* loop, const Clock& clock, Duration delay, Loop::Task task)
      : box_(new TimerBox{{}, std::move(task), clock, clock.now() + delay}) {
    uv_timer_init(loop, &box_->handle);
    box_->handle.data = box_;
    wait_for(box_, delay);
  }
  ~UvTimer() override { close_box(box_); }

 private:
  TimerBox* box_;
};

struct PollBox {
  uv_poll_t handle;
  Loop::Task ready;
};

class UvWatch final : public Watch {
 public:
  UvWatch(uv_loop_t* loop, int fd, Loop::Task ready) : box_(new PollBox{{}, std::move(ready)}) {
    ok_ = uv_poll_init(loop, &box_->handle, fd) == 0;
    box_->handle.data = box_;
    if (!ok_) return;
    uv_poll_start(&box_->handle, UV_READABLE | UV_DISCONNECT, [](uv_poll_t* handle, int, int) {
      const auto ready = static_cast<PollBox*>(handle->data)->ready;  // a copy: it may destroy its own Watch
      ready();
    });
  }
  ~UvWatch() override {
    if (!ok_) {
      delete box_;
      return;
    }
    uv_poll_stop(&box_->handle);
    close_box(box_);
  }

 private:
  PollBox* box_;
  bool ok_ = false;
};

union AnyStream {
  uv_stream_t stream;
  uv_tcp_t tcp;
  uv_pipe_t pipe;
};

struct StreamBox {
  AnyStream handle;
  bool unix_socket = false;
  std::string peer;  // asked for once: a peer that has reset the connection has no address any more
  std::function<void(BytesView)> received;
  std::function<void(bool)> readable;
  std::uint64_t read_in_turn = 0;
  std::size_t pending = 0;
  std::function<void()> closed;
  std::function<void(Status)> connected;
};

class UvStream final : public Stream {
 public:
  explicit UvStream(StreamBox* box) : box_(box) {}
  ~UvStream() override {
    box_->received = nullptr;
    box_->readable = nullptr;
    box_->closed = nullptr;
    box_->connected = nullptr;
    close_box(box_);
  }

  void read(std::function<void(BytesView)> received) override {
    box_->received = std::move(received);
    resume();
  }

  // A reader without a buffer is told that there is something, and nothing is taken (uv_alloc_cb,
  // UV_ENOBUFS).
  void when_readable(std::function<void(bool)> readable) override {
    box_->readable = std::move(readable);
    uv_read_start(
        &box_->handle.stream,
        [](uv_handle_t*, std::size_t, uv_buf_t* buf) { *buf = uv_buf_init(nullptr, 0); },
        [](uv_stream_t* stream, ssize_t, const uv_buf_t*) {
          auto* box = static_cast<StreamBox*>(stream->data);
          uv_read_stop(stream);
          uv_os_fd_t fd = -1;
          char first = 0;
          uv_fileno(reinterpret_cast<const uv_handle_t*>(stream), &fd);
          const bool said_something = ::recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
          if (const auto readable = std::exchange(box->readable, nullptr)) readable(said_something);
        });
  }

  void pause() override { uv_read_stop(&box_->handle.stream); }

  // One buffer a turn: libuv would read 32 of them from a peer that sends without end, before it looks at
  // anybody else. Where there is no buffer it leaves the rest for the next turn.
  void resume() override {
    uv_read_start(
        &box_->handle.stream,
        [](uv_handle_t* handle, std::size_t, uv_buf_t* buf) {
          auto* uv = static_cast<UvLoop::Uv*>(handle->loop->data);
          auto& last = static_cast<StreamBox*>(handle->data)->read_in_turn;
          const bool had_his_turn = std::exchange(last, uv->turn) == uv->turn;
          *buf = uv_buf_init(uv->read_buffer, had_his_turn ? 0 : sizeof uv->read_buffer);
        },
        [](uv_stream_t* stream, ssize_t got, const uv_buf_t* buf) {
          auto* box = static_cast<StreamBox*>(stream->data);
          if (got == 0 || got == UV_ENOBUFS || !box->received) return;
          if (got < 0) uv_read_stop(stream);
          const auto received = box->received;  // a copy: it may destroy the Stream
          received(got < 0 ? BytesView{} : bytes_of({buf->base, static_cast<std::size_t>(got)}));
        });
  }

  void write(std::string bytes) override {
    struct Write {
      uv_write_t request;
      std::string bytes;
      StreamBox* box;
    };
    auto* write = new Write{{}, std::move(bytes), box_};
    write->request.data = write;
    const uv_buf_t buf = uv_buf_init(write->bytes.data(), static_cast<unsigned>(write->bytes.size()));
    box_->pending += write->bytes.size();
    const int rc = uv_write(&write->request, &box_->handle.stream, &buf, 1, [](uv_write_t* request, int) {
      auto* done = static_cast<Write*>(request->data);
      // libuv runs write callbacks before the close callback frees the box
      done->box->pending -= done->bytes.size();
      delete done;
    });
    if (rc != 0) {
      box_->pending -= write->bytes.size();
      delete write;
    }
  }

  std::size_t pending_bytes() const override { return box_->pending; }
  std::size_t unacknowledged_bytes() const override {
    uv_os_fd_t fd = -1;
    int in_kernel = 0;
    const bool known = uv_fileno(reinterpret_cast<const uv_handle_t*>(&box_->handle.stream), &fd) == 0 &&
                       ::ioctl(fd, SIOCOUTQ, &in_kernel) == 0 && in_kernel > 0;
    return uv_stream_get_write_queue_size(&box_->handle.stream) +
           (known ? static_cast<std::size_t>(in_kernel) : 0);
  }

  std::optional<std::size_t> unread_bytes() const override {
    pollfd looked{.fd = -1, .events = 0, .revents = 0};
    int bytes = 0;
    if (uv_fileno(reinterpret_cast<const uv_handle_t*>(&box_->handle.stream), &looked.fd) != 0)
      return std::nullopt;
    if (::poll(&looked, 1, 0) > 0 && (looked.revents & (POLLERR | POLLHUP)) != 0) return std::nullopt;
    return ::ioctl(looked.fd, FIONREAD, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
  }

  void finish(std::function<void()> closed) override {
    box_->closed = std::move(closed);
    auto* request = new uv_shutdown_t;
    request->data = box_;
    const auto finished = [](uv_shutdown_t* done, int) {
      auto* box = static_cast<StreamBox*>(done->data);
      delete done;
      if (box->closed) {
        const auto closed = std::move(box->closed);
        closed();
      }
    };
    if (uv_shutdown(request, &box_->handle.stream, finished) != 0) finished(request, 0);
  }

  std::optional<std::uint32_t> peer_uid() const override {
    if (!box_->unix_socket) return std::nullopt;
    uv_os_fd_t fd;
    if (uv_fileno(reinterpret_cast<const uv_handle_t*>(&box_->handle), &fd) != 0) return std::nullopt;
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return std::nullopt;
    return credentials.uid;
  }

  std::string peer_address() const override { return box_->peer; }

 private:
  StreamBox* box_;
};

// Watches the listening socket itself instead of uv_listen(): libuv accepts whatever waits in one go, and
// without a descriptor to spare it tries the same connection for ever, inside one turn.
struct ListenerBox {
  uv_poll_t handle;
  uv_timer_t rest;
  UvLoop::Uv* uv;
  Fd socket;
  bool unix_socket = false;
  std::function<void(std::unique_ptr<Stream>)> accepted;
  int closing = 2;  // handles
};

class UvListener final : public Listener {
 public:
  UvListener(ListenerBox* box, std::uint16_t port) : box_(box), port_(port) {}
  ~UvListener() override {
    box_->accepted = nullptr;
    const auto closed = [](uv_handle_t* handle) {
      auto* box = static_cast<ListenerBox*>(handle->data);
      if (--box->closing == 0) delete box;
    };
    uv_close(reinterpret_cast<uv_handle_t*>(&box_->handle), closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&box_->rest), closed);
    box_->socket.reset();  // the port is free from here on
  }
  std::uint16_t port() const override { return port_; }

 private:
  ListenerBox* box_;
  std::uint16_t port_;
};

void init_stream(uv_loop_t* loop, AnyStream& handle, bool unix_socket) {
  if (unix_socket) uv_pipe_init(loop, &handle.pipe, 0);
  else uv_tcp_init(loop, &handle.tcp);
}

void watch(ListenerBox* box);

// No descriptor is left: what waits is taken with the spare one and closed, so that its peer knows, and the
// listener rests. Everything else goes on with what it has.
void turn_away(ListenerBox* box) {
  UvLoop::Uv& uv = *box->uv;
  uv.spare.reset();
  for (int i = 0; i < accepts_a_turn; ++i) {
    const Fd refused(::accept4(box->socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!refused.valid()) break;
    ++uv.turned_away;
  }
  const std::size_t open = descriptors_open();  // counting takes one, too
  uv.open_spare();
  LOG_WARN("no file descriptor is left for a new connection (", open,
           " are open); it is closed, and the others wait. "
           "Raise LimitNOFILE= of the service, or lower connections_max");
  uv_poll_stop(&box->handle);
  uv_timer_start(
      &box->rest, [](uv_timer_t* timer) { watch(static_cast<ListenerBox*>(timer->data)); }, rest_ms, 0);
}

void accept_some(ListenerBox* box) {
  for (int i = 0; i < accepts_a_turn && box->accepted; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    Fd socket(::accept4(box->socket.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                        SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.valid()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return turn_away(box);
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      // that one connection went wrong (accept(2): network errors of the new socket come from here)
      continue;
    }
    auto* stream = new StreamBox;
    stream->unix_socket = box->unix_socket;
    stream->peer = address_text(peer);
    init_stream(box->handle.loop, stream->handle, stream->unix_socket);
    stream->handle.stream.data = stream;
    auto owned = std::make_unique<UvStream>(stream);
    const int rc = stream->unix_socket ? uv_pipe_open(&stream->handle.pipe, socket.get())
                                       : uv_tcp_open(&stream->handle.tcp, socket.get());
    if (rc != 0) continue;
    socket.release();  // libuv's
    // What is written is written whole: waiting for the peer's ACK first would only hold it up.
    if (!stream->unix_socket) uv_tcp_nodelay(&stream->handle.tcp, 1);
    const auto accepted = box->accepted;  // a copy: it may destroy the Listener
    accepted(std::move(owned));
  }
}

void watch(ListenerBox* box) {
  if (!box->accepted) return;
  uv_poll_start(&box->handle, UV_READABLE,
                [](uv_poll_t* handle, int, int) { accept_some(static_cast<ListenerBox*>(handle->data)); });
}

}  // namespace

UvLoop::UvLoop(std::unique_ptr<Clock> clock)
    : clock_(std::move(clock)), thread_(std::this_thread::get_id()), uv_(std::make_unique<Uv>()) {
  MILLRACE_CHECK(uv_loop_init(&uv_->loop) == 0);
  uv_->loop.data = uv_.get();
  uv_prepare_init(&uv_->loop, &uv_->turning);
  uv_->turning.data = uv_.get();
  uv_prepare_start(&uv_->turning, [](uv_prepare_t* prepare) { ++static_cast<Uv*>(prepare->data)->turn; });
  uv_unref(reinterpret_cast<uv_handle_t*>(&uv_->turning));  // it only counts
  MILLRACE_CHECK(uv_async_init(&uv_->loop, &uv_->wake, [](uv_async_t* wake) {
                   static_cast<UvLoop*>(wake->data)->run_posted();
                 }) == 0);
  uv_->wake.data = this;
  uv_idle_init(&uv_->loop, &uv_->again);
  uv_->again.data = this;
}

UvLoop::~UvLoop() {
  join_workers();
  run_posted();
  for (auto& signal : uv_->signals) uv_close(reinterpret_cast<uv_handle_t*>(&signal->handle), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&uv_->wake), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&uv_->again), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&uv_->turning), nullptr);
  uv_run(&uv_->loop, UV_RUN_DEFAULT);
  uv_loop_close(&uv_->loop);
}

void UvLoop::run() {
  thread_ = std::this_thread::get_id();
  turning_here = this;
  uv_run(&uv_->loop, UV_RUN_DEFAULT);
  turning_here = nullptr;
}

std::uint64_t UvLoop::turned_away() const { return uv_->turned_away; }

void UvLoop::stop() { uv_stop(&uv_->loop); }

void UvLoop::on_signal(int signal, std::function<void()> handler) {
  auto& box = uv_->signals.emplace_back(std::make_unique<SignalBox>());
  box->handler = std::move(handler);
  box->handle.data = box.get();
  uv_signal_init(&uv_->loop, &box->handle);
  uv_signal_start(
      &box->handle, [](uv_signal_t* s, int) { static_cast<SignalBox*>(s->data)->handler(); }, signal);
}

void UvLoop::join_workers() { workers_.clear(); }

std::unique_ptr<Timer> UvLoop::after(Duration delay, Task task) {
  return std::make_unique<UvTimer>(&uv_->loop, *clock_, delay, std::move(task));
}

void UvLoop::post(Task task) {
  bool first;
  {
    const std::lock_guard lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (!first) return;
  if (turning_here != this) {
    uv_async_send(&uv_->wake);
    return;
  }
  uv_idle_start(&uv_->again, [](uv_idle_t* again) {
    uv_idle_stop(again);
    static_cast<UvLoop*>(again->data)->run_posted();
  });
}

void UvLoop::run_posted() {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) {
    task();
    task = nullptr;
  }
}

void UvLoop::let_idle_workers_go() {
  std::erase_if(workers_, [now = now()](const auto& worker) {
    const Use& use = *worker.second.use;
    return use.tasks == 0 && now - use.since >= idle_worker_stays;
  });
}

void UvLoop::run_blocking(std::string_view worker, Task work, Task done) {
  auto found = workers_.find(worker);
  if (found == workers_.end()) {
    let_idle_workers_go();
    found =
        workers_
            .emplace(worker, Employed{std::make_unique<Worker>(std::string(worker)), std::make_shared<Use>()})
            .first;
  }
  const std::shared_ptr<Use>& use = found->second.use;
  ++use->tasks;
  found->second.worker->run([this, use, work = std::move(work), done = std::move(done)]() mutable {
    work();
    work = nullptr;
    post([this, use = std::move(use), done = std::move(done)] {
      --use->tasks;
      use->since = now();
      done();
    });
  });
}

std::unique_ptr<Watch> UvLoop::watch_readable(int fd, Task ready) {
  return std::make_unique<UvWatch>(&uv_->loop, fd, std::move(ready));
}

Result<std::unique_ptr<Listener>> UvLoop::listen(const std::string& address,
                                                 std::function<void(std::unique_ptr<Stream>)> accepted) {
  auto opened = listening_socket(address);
  if (!opened.ok()) return opened.status();
  Fd socket = std::move(opened).value();
  auto* box = new ListenerBox;
  if (const int rc = uv_poll_init(&uv_->loop, &box->handle, socket.get()); rc != 0) {
    delete box;
    return Status{Code::io, text("listen on ", address, ": ", uv_strerror(rc))};
  }
  uv_timer_init(&uv_->loop, &box->rest);
  box->handle.data = box->rest.data = box;
  box->uv = uv_.get();
  const std::uint16_t port = bound_port(socket);
  box->socket = std::move(socket);
  box->unix_socket = address.starts_with(unix_prefix);
  box->accepted = std::move(accepted);
  if (!uv_->spare.valid()) uv_->open_spare();
  watch(box);
  return std::unique_ptr<Listener>(std::make_unique<UvListener>(box, port));
}

Result<std::unique_ptr<Stream>> UvLoop::connect(const std::string& address,
                                                std::function<void(Status)> connected) {
  sockaddr_storage where{};
  if (Status status = parse_address(address, where); !status.ok()) return status;
  auto* box = new StreamBox;
  init_stream(&uv_->loop, box->handle, false);
  box->handle.stream.data = box;
  box->connected = std::move(connected);
  auto stream = std::make_unique<UvStream>(box);
  struct Connect {
    uv_connect_t request;
    StreamBox* box;
    std::string address;
  };
  auto* connect = new Connect{{}, box, address};
  connect->request.data = connect;
  const int rc = uv_tcp_connect(
      &connect->request, &box->handle.tcp, reinterpret_cast<sockaddr*>(&where),
      [](uv_connect_t* request, int status) {
        const std::unique_ptr<Connect> done(static_cast<Connect*>(request->data));
        // the Stream is gone; libuv runs this before the close callback frees the box
        if (!done->box->connected) return;
        const auto connected = std::move(done->box->connected);
        if (status == 0) uv_tcp_nodelay(&done->box->handle.tcp, 1);
        done->box->peer = done->address;
        connected(status == 0 ? Status{}
                              : Status{Code::unavailable,
                                       text("connect to ", done->address, ": ", uv_strerror(status))});
      });
  if (rc != 0) {
    delete connect;
    return Status{Code::unavailable, text("connect to ", address, ": ", uv_strerror(rc))};
  }
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace millrace
