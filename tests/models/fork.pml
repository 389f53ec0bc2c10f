/* fork(), its handlers, libc's locks, and signals that stop threads or interrupt them: a model for spin.
 *
 * What is here, and what it mirrors (functions and hashes below):
 *   lock_acquire      lock_try_acquire, lock_acquire_slow, lock_pass, lock_borrow
 *   locks_take        and fork_take, fork_untake, locks_untake: the same names; with gate_take_or_pass
 *   fork_prepare      heap_fork_prepare
 *   fork_parent       heap_fork_parent: fork_end, orphans_drain
 *   kernel_forks      what heap_fork_child and orphan_all_others find and take as whole
 *   fork_rest         what glibc's fork (2.36) does behind our prepare handler: it holds atfork_lock, but not during a
 *                     handler, waits for the lock of name services, takes the list of streams once more, and forks
 *   allocate, trim    malloc and free; heap_evict, which is malloc_trim
 *   allocating        a thread that allocates, starts or trims
 *   stdio             a thread inside libc: getline, fflush(NULL) on a full pipe, pthread_atfork, getpwnam
 *   collector         stops all threads by a signal, and waits until all have answered
 *
 * How: a thread's number is its process id. Where signals are open a signal stops the thread at once, else as soon as
 * they open. A patience may end at any time, so nothing here depends on milliseconds. EXTENTS stands for all locks that
 * are held with signals blocked under a heap's (the profile's, too), REGISTRY for those before it. kLockContended is left out.
 *
 * What is shown: nobody waits for ever; every fork ends; each lock has one holder; at the kernel's fork nobody is
 * changing what the child takes as whole, and it gives up only what was passed over or borrowed.
 *
 * What is assumed: a signal handler forks only where it has interrupted malloc or free, of a thread that holds none of
 * libc's locks; libc's own fork fails otherwise. And, each needed (the macro drops it, and spin finds the fault):
 *   STOPPED_IN_LIBC   nobody is stopped who holds a lock of libc's that fork takes behind our prepare handler
 *   SHARED_HEAP       nobody whom the shared heap serves holds such a lock of libc's
 *
 * Mutants, which must fail: LOCKS_FIRST, NO_BORROWING, WAITS_FOR_EVER, NEVER_GIVES_UP, TRIM_WAITS, UNTAKE_OVERWRITES,
 * BORROWED_IS_WHOLE, HANDLER_ONLY_LOOKS. Smaller worlds: FORKS=1, NO_COLLECTOR, NO_ALLOCATOR, ONLY_STREAMS; and ALONE: a
 * single thread, which blocks no signals, and forks in a handler that has interrupted it at the extents.
 *
 * The functions that were read for this, and a hash of each (test_fork_model.py):
 *   lib/os/lock.h lock_held_by_fork 6a162bd10b79
 *   lib/os/lock.h lock_try_acquire f566591deb89
 *   lib/os/lock.h lock_release 4518c79546f7
 *   lib/os/lock.cc lock_pass ef4bca3d4cae
 *   lib/os/lock.cc lock_borrow ff2ffff248ce
 *   lib/os/lock.cc lock_acquire_slow 8195fd30def8
 *   lib/heap/fork.cc fork_take 546ea0f41039
 *   lib/heap/fork.cc fork_untake d37b25653054
 *   lib/heap/fork.cc gate_take_or_pass a2bcd2ea1fa8
 *   lib/heap/fork.cc locks_untake 6ba260d3a7e5
 *   lib/heap/fork.cc locks_take a3f8b046ba6e
 *   lib/heap/fork.cc orphan_all_others b60504e072ad
 *   lib/heap/fork.cc fork_end 389348b8e8b3
 *   lib/heap/fork.cc orphans_drain 1f86010c6248
 *   lib/heap/fork.cc heap_fork_prepare dad6785b9ff1
 *   lib/heap/fork.cc heap_fork_parent db5d03e59bf4
 *   lib/heap/fork.cc heap_fork_child cd6d178a6fa1
 *   lib/heap/evict.cc heap_evict 345bc624190e
 */
#define STDIO 2
#define FORKING 3 /* and 4, which may be in a signal handler */
#define THREADS 5

#define HEAP(thread) ((thread) - 1) /* the lock of a thread's heap */
#define REGISTRY 4
#define EXTENTS 5
#define LOCKS 6
#define IS_HEAP(lock) ((lock) < REGISTRY)
#ifdef SHARED_HEAP
#define IS_SHARED(lock) ((lock) == HEAP(STDIO))
#else
#define IS_SHARED(lock) false
#endif
#define FORK 9 /* kLockFork */
#define TRIES 1 /* kTries */
#ifndef FORKS
#define FORKS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif

byte word[LOCKS];     /* Lock::word */
byte inside[LOCKS];   /* who uses what the lock protects */
bool spared[LOCKS];   /* passed over, or borrowed, in the fork that goes on */
byte fork_lock;
byte streams, streams_count, atfork, names; /* libc's: holders; the first is recursive */
bool is_read;         /* somebody has allocated, and then read from the full pipe */
bool blocked[THREADS], pending[THREADS];

#ifdef STOPPED_IN_LIBC
#define IS_OPEN(thread) (!blocked[thread])
#else
#define IS_OPEN(thread) (!blocked[thread] && atfork != thread && names != thread)
#endif
#define RUNS (!pending[_pid] || !IS_OPEN(_pid))
#define HELD_BY_FORK(lock) (word[lock] == FORK && fork_lock == _pid)

/* ---- lock.h, lock.cc ---- */

inline enter(lock) { assert(inside[lock] == 0); inside[lock] = _pid }

inline lock_acquire(lock) {
  assert(word[lock] != _pid); /* a handler that allocates where it has interrupted malloc */
  if
  :: atomic { word[lock] == 0 -> word[lock] = _pid; enter(lock) }
#ifdef HANDLER_ONLY_LOOKS
  :: atomic { HELD_BY_FORK(lock) -> enter(lock) }
#else
  :: atomic { HELD_BY_FORK(lock) -> word[lock] = _pid; enter(lock) }
#endif
#if !defined(LOCKS_FIRST) && !defined(NO_BORROWING)
  /* lock_borrow */
  :: atomic { word[lock] == FORK && fork_lock != _pid && !IS_SHARED(lock) ->
       word[lock] = _pid; spared[lock] = true; enter(lock) }
#endif
  fi
}

inline lock_release(lock) {
  atomic {
    inside[lock] = 0;
    if
    :: HELD_BY_FORK(lock)
    :: !HELD_BY_FORK(lock) && fork_lock == _pid -> word[lock] = FORK
    :: else -> word[lock] = 0
    fi
  }
}

/* With signals blocked, which they are before and after only in a fork. */
inline use_shared(lock) {
  atomic { blocked[_pid] = true; lock_acquire(lock) };
  atomic { lock_release(lock); blocked[_pid] = (fork_lock == _pid) }
}

inline allocate() {
  if
  :: IS_SHARED(HEAP(_pid)) -> use_shared(HEAP(_pid))
  :: else ->
     lock_acquire(HEAP(_pid));
     if
     :: use_shared(EXTENTS)
     :: true
     fi;
     lock_release(HEAP(_pid))
  fi
}

/* heap_evict, heap_trim_orphan. */
inline trim(heap) {
#ifdef TRIM_WAITS
  use_shared(heap)
#else
  atomic {
    blocked[_pid] = true;
    if
    :: word[heap] == 0 -> word[heap] = _pid; enter(heap)
    :: else -> blocked[_pid] = false
    fi
  };
  if
  :: atomic { word[heap] == _pid -> lock_release(heap); blocked[_pid] = false }
  :: else
  fi
#endif
}

/* ---- fork.cc ---- */

inline fork_take(lock) {
  if
  :: atomic { word[lock] == 0 -> word[lock] = FORK; assert(inside[lock] == 0) }
  :: word[lock] == _pid
  fi
}

inline fork_untake(lock) {
  if
#ifdef UNTAKE_OVERWRITES
  :: word[lock] == FORK -> word[lock] = 0
#else
  :: atomic { word[lock] == FORK -> word[lock] = 0 }
#endif
  :: else
  fi
}

inline locks_untake() {
  do
  :: i < LOCKS -> fork_untake(i); spared[i] = false; i++
  :: else -> i = 0; break
  od
}

inline locks_take(gives_up) {
  fork_take(REGISTRY);
  do
  :: atomic { i == REGISTRY -> i = 0; fork_take(EXTENTS); has_all = true }; break
  /* gate_take_or_pass */
  :: atomic { IS_HEAP(i) && word[i] == 0 -> word[i] = FORK; assert(inside[i] == 0); i++ }
  :: atomic { i == HEAP(_pid) && word[i] == _pid -> i++ }
#ifndef WAITS_FOR_EVER
  :: IS_HEAP(i) && word[i] != 0 && word[i] != _pid ->
     if
#ifndef NEVER_GIVES_UP
     :: gives_up && i != HEAP(_pid) && !IS_SHARED(i) -> spared[i] = true; i++
#endif
     :: else -> i = 0; locks_untake(); break
     fi
#endif
  od
}

inline fork_prepare() {
#ifndef LOCKS_FIRST
  streams_lock();
#endif
  do
  :: blocked[_pid] = true;
     if
     :: atomic { fork_lock == 0 -> fork_lock = _pid };
        locks_take(tries == TRIES);
        if
        :: has_all -> has_all = false; tries = 0; break
        :: else -> d_step { fork_lock = 0; tries = (tries < TRIES -> tries + 1 : TRIES) }
        fi
     :: fork_lock != 0
     fi;
accept_again:
     blocked[_pid] = false
  od;
#ifdef LOCKS_FIRST
  streams_lock();
#endif
}

/* With fork_end. */
inline fork_parent() {
  locks_untake();
  fork_lock = 0;
  streams_unlock();
  blocked[_pid] = false;
  /* orphans_drain */
  if
  :: interrupted < LOCKS
  :: else -> use_shared(EXTENTS)
  fi
}

/* ---- libc ---- */

inline take(libc_lock) { atomic { libc_lock == 0 -> libc_lock = _pid } }

inline streams_lock() { atomic { streams == 0 || streams == _pid -> streams = _pid; streams_count++ } }
inline streams_unlock() { d_step { streams_count--; streams = (streams_count == 0 -> 0 : _pid) } }

/* What the child makes of it: heaps and extents that it takes as whole, or gives up. */
inline kernel_forks() {
  d_step {
    for (i : 0 .. LOCKS - 1) {
      if
      :: word[i] == FORK -> assert(inside[i] == 0)
      :: word[i] == _pid -> assert(i == interrupted) /* whose code goes on with it */
      :: else -> assert(spared[i] && !IS_SHARED(i))
#ifdef BORROWED_IS_WHOLE
         assert(IS_HEAP(i) || inside[i] == 0)
#endif
      fi
    };
    i = 0
  }
}

inline fork_rest() {
  take(atfork);
  names == 0;
  atomic { streams_lock(); kernel_forks(); streams_unlock() };
  atfork = 0
}

/* ---- The threads ---- */

active proctype collector() {
#ifdef NO_COLLECTOR
  true
#else
  byte t = 1;
  do
  :: t < THREADS -> pending[t] = true; t++
  :: else -> t = 1; break
  od;
  do
  :: t < THREADS && IS_OPEN(t) -> t++ /* it has answered */
  :: t == THREADS -> break
  od;
  atomic { for (t : 1 .. THREADS - 1) { pending[t] = false } }
#endif
}

active proctype allocating() provided (RUNS) {
  byte rounds = 0;
  do
#ifndef NO_ALLOCATOR
  :: rounds < ROUNDS ->
     if
     :: allocate()
     :: use_shared(REGISTRY)
     :: trim(HEAP(STDIO))
     :: trim(HEAP(FORKING + 1))
     fi;
     is_read = true;
     rounds++
#endif
  :: else -> is_read = true; break
  od
}

/* Locks that libc's fork takes behind ours. */
inline in_libc(libc_lock) { take(libc_lock); allocate(); libc_lock = 0 }

active proctype stdio() provided (RUNS) {
  if
#ifdef ALONE
  :: true
#else
  :: streams_lock();
     if
     :: allocate()
     :: is_read
     fi;
     streams_unlock()
#ifndef ONLY_STREAMS
  :: in_libc(atfork)
  :: in_libc(names)
#endif
#endif
  fi
}

/* Another library's handlers, which run while the fork holds all locks: one allocates, or forks itself. */
inline other_handler() {
  if
  :: lock_acquire(EXTENTS); lock_release(EXTENTS)
  :: assert(fork_lock == _pid); fork_rest() /* heap_fork_prepare and heap_fork_parent only count */
  :: true
  fi
}

active [FORKS] proctype forking() provided (RUNS) {
  bool has_all;
  byte i, tries, interrupted = LOCKS;
#ifdef ALONE
  interrupted = EXTENTS;
  lock_acquire(EXTENTS);
#else
  if
  :: _pid == FORKING + 1 -> interrupted = HEAP(_pid); lock_acquire(HEAP(_pid))
  :: true
  fi;
#endif
  fork_prepare();
#ifndef ALONE
  other_handler();
#endif
  fork_rest();
  fork_parent();
  if
  :: interrupted < LOCKS -> lock_release(interrupted)
  :: else
  fi
}
