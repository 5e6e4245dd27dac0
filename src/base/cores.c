/*
 * cores: physical cores in our affinity mask, limited by the quota of our control group and those above it.
 *
 * Hyper-threads share the vector units that the networks keep busy, and more
 * threads than the quota allows get stopped in the middle of a barrier.
 */
#include "base/cores.h"

#include "base/memory.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__

enum { MOST_CPUS = 1 << 16 };

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

/* CPUs per period, rounded up, that the group at path may use; 0 = no limit. */
static int read_quota(const char *path)
{
    char name[PATH_MAX + 16];
    long long share, period;
    int n = 0;
    FILE *file;

    snprintf(name, sizeof name, "%s/cpu.max", path);
    file = fopen(name, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%lld %lld", &share, &period) == 2 && share > 0 && period > 0)
        n = (share - 1) / period < OM_MAX_THREADS ? (int)((share - 1) / period) + 1 : OM_MAX_THREADS;
    fclose(file);
    return n;
}

/* Our group below mount, appended to path: "/system.slice/omni.service". Of version 2, whose line is "0::". Nothing when
 * it lies outside of what we see ("/../.."), or can not be found. */
static void append_group(const char *list, char *path, size_t room)
{
    char line[PATH_MAX];
    size_t used = strlen(path);
    FILE *file = fopen(list, "r");

    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        if (!strstr(line, "/..") && used + strlen(line + 3) < room)
            snprintf(path + used, room - used, "%s", line + 3);
        break;
    }
    if (file)
        fclose(file);
}

int om_cpu_quota(const char *list, const char *mount)
{
    char path[PATH_MAX];
    int least = 0;

    if (strlen(mount) >= sizeof path)
        return 0;
    snprintf(path, sizeof path, "%s", mount);
    append_group(list, path, sizeof path);
    /* A group has at most what each of those above it has. */
    for (;;) {
        int n = read_quota(path);

        if (n > 0 && (least == 0 || n < least))
            least = n;
        if (strlen(path) <= strlen(mount))
            return least;
        *strrchr(path, '/') = '\0';
    }
}

/* The CPUs that we may run on, *n bits; the kernel refuses a mask that is too short for the machine. */
static cpu_set_t *affinity(int *n)
{
    for (*n = CPU_SETSIZE; *n <= MOST_CPUS; *n *= 2) {
        size_t bytes = CPU_ALLOC_SIZE((size_t)*n);
        cpu_set_t *mask = om_calloc(1, bytes);

        if (mask && sched_getaffinity(0, bytes, mask) == 0)
            return mask;
        om_free(mask);
    }
    return NULL;
}

/* Distinct cores, at most OM_MAX_THREADS. */
static int count_cores(const cpu_set_t *mask, int n_cpus)
{
    int package[OM_MAX_THREADS], core[OM_MAX_THREADS];
    int n = 0;

    for (int cpu = 0; cpu < n_cpus && n < OM_MAX_THREADS; cpu++) {
        int p, c, i = 0;

        if (!CPU_ISSET_S((size_t)cpu, CPU_ALLOC_SIZE((size_t)n_cpus), mask))
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
    return n;
}

/* n, or what the quota and OM_MAX_THREADS leave of it. */
static int within_limits(int n)
{
    int limit = om_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");

    if (limit <= 0 || limit > OM_MAX_THREADS)
        limit = OM_MAX_THREADS;
    return n > limit ? limit : n > 0 ? n : 1;
}

int om_cores(void)
{
    int n_cpus, n;
    cpu_set_t *mask = affinity(&n_cpus);

    if (!mask)
        return 1;
    n = count_cores(mask, n_cpus);
    om_free(mask);
    return within_limits(n);
}

int om_processors(void)
{
    int n_cpus, n;
    cpu_set_t *mask = affinity(&n_cpus);

    if (!mask)
        return 1;
    n = CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)n_cpus), mask);
    om_free(mask);
    return within_limits(n);
}

#else

int om_cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > OM_MAX_THREADS ? OM_MAX_THREADS : n > 0 ? (int)n : 1;
}

int om_processors(void)
{
    return om_cores();
}

#endif
