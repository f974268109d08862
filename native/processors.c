/* Threads that keep off the processor of those they work for. */

#ifdef __linux__
#define _GNU_SOURCE
#include "kernels.h"
#include <sched.h>
#include <unistd.h>

static cpu_set_t allowed;

/* Remember on which processors the present thread may run, and so those that it starts. */
void remember_processors(void)
{
    if (sched_getaffinity(0, sizeof allowed, &allowed)) CPU_ZERO(&allowed);
}

int present_processor(void)
{
    return sched_getcpu();
}

/* Go to another processor, if this is the one. Linux takes a virtual one that is idle for busy with other machines, and
 * wakes a thread where its waker runs: there both would take turns. */
void leave_processor(int processor)
{
    cpu_set_t others;
    if (processor < 0 || processor >= CPU_SETSIZE || processor != present_processor()) return;
    if (sched_getaffinity(getpid(), sizeof others, &others)) return; /* the process may have been restricted since */
    CPU_AND(&others, &others, &allowed);
    CPU_CLR(processor, &others);
    if (CPU_COUNT(&others)) sched_setaffinity(0, sizeof others, &others);
}
#else
#include "kernels.h"

void remember_processors(void) {}

int present_processor(void)
{
    return -1;
}

void leave_processor(int processor)
{
    (void)processor;
}
#endif
