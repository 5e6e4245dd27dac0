/* How many compute threads are worth starting here. */
#ifndef OM_CORES_H
#define OM_CORES_H

enum { OM_MAX_THREADS = 512 };

/* Physical cores that this process may run on, at most its CPU quota; 1 ... OM_MAX_THREADS. */
int om_cores(void);
/* The same of logical processors: more threads than these only wait for each other. */
int om_processors(void);
/* CPUs that control groups of version 2 leave us, rounded up; 0: no limit. list: /proc/self/cgroup; mount: where the
 * groups are. */
int om_cpu_quota(const char *list, const char *mount);

#endif
