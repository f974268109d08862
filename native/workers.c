/* Threads that decode segments without Python, for event loops that wait for them.
 *
 * What a job reads and writes must stay where it is until the job is collected, or its line closed. */

#include "kernels.h"
#ifndef _WIN32
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef struct job {
    struct job *next;
    line *on;
    const recipe *how;
    const uint8_t *encoded;
    uint8_t *out;
    size_t size;
    uint64_t number;
    int decoded, processor; /* whether it is; the one of who waits for it */
} job;

struct line {
    job *done;
    size_t pending; /* jobs that are not done */
    int read_end, write_end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, progress = PTHREAD_COND_INITIALIZER;
static job *first, **last = &first;
static atomic_size_t queued;
static size_t running, sleeping, helping;
static int stopped, is_watched;

/* For so long one thread watches for further jobs before it sleeps: to wake it up costs the loop as much as a segment. */
static const long WATCH_NANOSECONDS = 50000;

/* Let the loop know; the pipe is never full, as it holds a byte only while there is something to collect. */
static void signal_line(const line *to)
{
    while (write(to->write_end, "", 1) < 0 && errno == EINTR) continue;
}

static long nanoseconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000000000L + now.tv_nsec - start->tv_nsec;
}

/* Return when there may be a job, or when it is time to sleep. */
static void watch(void)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned looks = 1; !atomic_load_explicit(&queued, memory_order_relaxed); looks++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
        if (looks % 32 == 0 && nanoseconds_since(&start) > WATCH_NANOSECONDS) return;
    }
}

/* Take a job out of the queue, which the caller has locked. */
static job *take(job **at)
{
    job *taken = *at;
    *at = taken->next;
    if (!taken->next) last = at;
    queued--;
    return taken;
}

/* Take the first job of a line, or that of a number, if there is one. */
static job *take_one(const line *of, const uint64_t *number)
{
    for (job **at = &first; *at; at = &(*at)->next)
        if ((*at)->on == of && (!number || (*at)->number == *number)) return take(at);
    return NULL;
}

/* Let a job that is done be collected; the caller has locked the queue. */
static void deliver(job *done)
{
    line *on = done->on;
    if (!on->done) signal_line(on);
    done->next = on->done;
    on->done = done;
    on->pending--;
}

static void run(job *taken)
{
    taken->decoded = virtual_tiff_segment(taken->how, taken->encoded, taken->size, taken->out);
}

static void *decode_jobs(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        if (!first && !stopped && !is_watched) {
            is_watched = 1;
            pthread_mutex_unlock(&lock);
            watch();
            pthread_mutex_lock(&lock);
            is_watched = 0;
        }
        while (!first && !stopped) {
            sleeping++;
            pthread_cond_wait(&work, &lock);
            sleeping--;
        }
        if (!first) break;
        job *mine = take(&first);
        pthread_mutex_unlock(&lock);
        leave_processor(mine->processor);
        run(mine);
        pthread_mutex_lock(&lock);
        deliver(mine);
        pthread_cond_broadcast(&progress);
    }
    running--;
    pthread_cond_broadcast(&progress);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* Start so many threads, unless they run; return how many run then. */
EXPORT int virtual_tiff_start(size_t threads)
{
    sigset_t all, before;
    pthread_attr_t apart;
    if (pthread_attr_init(&apart)) return 0;
    pthread_attr_setdetachstate(&apart, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_mutex_lock(&lock);
    if (!running) remember_processors();
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's threads */
    for (pthread_t thread; !stopped && running < threads; running++)
        if (pthread_create(&thread, &apart, decode_jobs, NULL)) break;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    size_t now = running;
    pthread_mutex_unlock(&lock);
    pthread_attr_destroy(&apart);
    return (int)now;
}

/* Return when all jobs are done, and no thread touches memory any more; from then on none is accepted. */
EXPORT void virtual_tiff_stop(void)
{
    pthread_mutex_lock(&lock);
    stopped = 1;
    pthread_cond_broadcast(&work);
    while (running || helping) pthread_cond_wait(&progress, &lock);
    pthread_mutex_unlock(&lock);
}

/* In the child of a fork, which has no threads and must not use its parent's lines. */
EXPORT void virtual_tiff_forked(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    work = progress = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    first = NULL, last = &first;
    queued = 0;
    running = sleeping = helping = 0;
    is_watched = 0;
    tools_forked();
}

EXPORT line *virtual_tiff_open(void)
{
    int ends[2];
    line *opened = calloc(1, sizeof *opened);
    if (!opened || pipe(ends)) {
        free(opened);
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    opened->read_end = ends[0], opened->write_end = ends[1];
    return opened;
}

/* The descriptor that can be read from when there is something to collect. */
EXPORT int virtual_tiff_signal(const line *of)
{
    return of->read_end;
}

/* Return whether some thread will decode the segment. */
EXPORT int virtual_tiff_submit(
    line *on, uint64_t number, const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out)
{
    job *added = malloc(sizeof *added);
    if (!added) return 0;
    *added = (job){.on = on, .how = how, .encoded = encoded, .out = out, .size = size, .number = number,
                   .processor = present_processor()};
    pthread_mutex_lock(&lock);
    int accepted = running && !stopped;
    if (accepted) {
        *last = added;
        last = &added->next;
        on->pending++;
        queued++;
        if (sleeping && queued > (size_t)is_watched) pthread_cond_signal(&work);
    }
    pthread_mutex_unlock(&lock);
    if (!accepted) free(added);
    return accepted;
}

/* Decode one of a line's jobs here, if more than so many wait for a thread; return whether there is one to collect. */
EXPORT int virtual_tiff_help(line *of, size_t spared)
{
    job *mine = NULL;
    pthread_mutex_lock(&lock);
    if (queued > spared) mine = take_one(of, NULL);
    if (mine) helping++;
    pthread_mutex_unlock(&lock);
    if (!mine) return 0;
    run(mine);
    pthread_mutex_lock(&lock);
    deliver(mine);
    helping--;
    pthread_cond_broadcast(&progress);
    pthread_mutex_unlock(&lock);
    return 1;
}

/* Drop a job, unless it has begun; return whether it is dropped. */
EXPORT int virtual_tiff_drop(line *of, uint64_t number)
{
    pthread_mutex_lock(&lock);
    job *dropped = take_one(of, &number);
    if (dropped) of->pending--;
    pthread_mutex_unlock(&lock);
    free(dropped);
    return dropped != NULL;
}

/* Return the numbers of at most so many jobs that are done, and whether they are decoded. */
EXPORT size_t virtual_tiff_collect(line *from, uint64_t *numbers, int *decoded, size_t most)
{
    char signal;
    size_t count = 0;
    pthread_mutex_lock(&lock);
    job *done = from->done, *rest = done;
    for (; rest && count < most; rest = rest->next, count++) numbers[count] = rest->number, decoded[count] = rest->decoded;
    from->done = rest;
    if (done && !rest)
        while (read(from->read_end, &signal, 1) < 0 && errno == EINTR) continue;
    pthread_mutex_unlock(&lock);
    while (done != rest) {
        job *next = done->next;
        free(done);
        done = next;
    }
    return count;
}

/* Return when no thread touches the memory of this line's jobs any more: those that have not begun are dropped. */
EXPORT void virtual_tiff_close(line *closed)
{
    pthread_mutex_lock(&lock);
    for (job *dropped; (dropped = take_one(closed, NULL)); free(dropped)) closed->pending--;
    while (closed->pending) pthread_cond_wait(&progress, &lock);
    pthread_mutex_unlock(&lock);
    for (job *done = closed->done; done;) {
        job *next = done->next;
        free(done);
        done = next;
    }
    close(closed->read_end);
    close(closed->write_end);
    free(closed);
}
#endif
