/*
 * cores: physical cores in our affinity mask, limited by the container's quota.
 *
 * Hyper-threads share the vector units that the networks keep busy, and more
 * threads than the quota allows get stopped in the middle of a barrier.
 */
#include "base/cores.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#ifdef __linux__

enum { CPUS = CPU_SETSIZE };

static int read_number(const char *format, int cpu)
{
    char path[128];
    int value = -1;
    FILE *file;

    snprintf(path, sizeof path, format, cpu);
    file = fopen(path, "r");
    if (!file)
        return -1;
    if (fscanf(file, "%d", &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

/* CPUs per period of control group version 2, rounded up; 0 = no limit. */
static int quota(void)
{
    long long share, period;
    int n = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");

    if (!file)
        return 0;
    if (fscanf(file, "%lld %lld", &share, &period) == 2 && share > 0 && period > 0)
        n = (int)((share + period - 1) / period);
    fclose(file);
    return n;
}

int om_cores(void)
{
    int package[CPUS], core[CPUS];      /* of the distinct cores seen so far */
    int n = 0, limit = quota();
    cpu_set_t mask;

    if (sched_getaffinity(0, sizeof mask, &mask) != 0)
        return 1;
    for (int cpu = 0; cpu < CPUS; cpu++) {
        int p, c, i = 0;

        if (!CPU_ISSET((size_t)cpu, &mask))
            continue;
        p = read_number("/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
        c = read_number("/sys/devices/system/cpu/cpu%d/topology/core_id", cpu);
        while (i < n && c >= 0 && !(package[i] == p && core[i] == c))
            i++;
        if (c < 0)
            i = n;      /* unknown: count it */
        if (i == n) {
            package[n] = p;
            core[n++] = c;
        }
    }
    if (limit > 0 && n > limit)
        n = limit;
    return n > 0 ? n : 1;
}

#else

int om_cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (int)n : 1;
}

#endif
