/* Watches the real-time callbacks of a client of pw_filter and pw_stream from outside:
 *
 *   LD_PRELOAD=rtcheck.so RTCHECK_REPORT=report.json v2m-engine run …
 *
 * The library steps in between libpipewire and the process callbacks of its filters
 * and streams, and in front of everything that such a callback must not call: the
 * allocator, locks, system calls. Inside a callback these are counted; the
 * report, written when the process exits normally, has the counts after each
 * thread's warm-up, how many of the cycles were a stream's, the page faults taken there, how many
 * pages the kernel moved meanwhile, the callback's durations, and how much of them its system
 * calls took.
 * RTCHECK_DURATIONS=file writes them all, as pairs of native u64: when each
 * callback began (CLOCK_MONOTONIC) and how long it took, in nanoseconds.
 *
 * RTCHECK_SABOTAGE=malloc|lock|syscall|fault commits one such sin in every
 * callback, and later-malloc before its thread rests, to show that it is noticed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <pipewire/filter.h>
#include <pipewire/stream.h>

#define WARM_UP 200
#define MAX_CYCLES (1 << 20)

static __thread int inside; /* the callback */
static __thread uint64_t cycles; /* of this thread */
static __thread int after;  /* it, until the thread rests */
static __thread uint32_t allocations, locks, syscalls, wakes;
static __thread uint64_t faults_before, waking; /* nanoseconds */
static __thread uint64_t number; /* of the callback, of all threads' */

static struct {
	uint64_t cycles, streams, allocations, locks, syscalls, faults;
	uint32_t most_syscalls, most_wakes;
} total;
struct duration {
	uint64_t began, took; /* nanoseconds */
};
static uint64_t *woke; /* how long each waked, after the callback */
static struct duration *durations; /* one a cycle */
static void **whose; /* of the same cycle: the node's */
static struct pw_filter_events events;
static struct pw_stream_events stream_events;
static void (*real_process)(void *, struct spa_io_position *);
static void (*real_stream_process)(void *);
static const char *sabotage;
static uint64_t migrated; /* at the beginning */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- what a callback must not call ------------------------------------- */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

#define COUNT(what) do { if (inside || after) what++; } while (0)
#define CALLED() do { if (inside) syscalls++; } while (0)

void *malloc(size_t n) { COUNT(allocations); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { COUNT(allocations); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { COUNT(allocations); return __libc_realloc(p, n); }
void free(void *p) { COUNT(allocations); __libc_free(p); }
void *memalign(size_t a, size_t n) { COUNT(allocations); return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { COUNT(allocations); return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n)
{
	COUNT(allocations);
	return (*p = __libc_memalign(a, n)) ? 0 : 12;
}

#define REAL(name) \
	static typeof(name) *real; \
	if (!real) real = (typeof(name) *)dlsym(RTLD_NEXT, #name)

int pthread_mutex_lock(pthread_mutex_t *m) { REAL(pthread_mutex_lock); COUNT(locks); return real(m); }
int pthread_rwlock_rdlock(pthread_rwlock_t *l) { REAL(pthread_rwlock_rdlock); COUNT(locks); return real(l); }
int pthread_rwlock_wrlock(pthread_rwlock_t *l) { REAL(pthread_rwlock_wrlock); COUNT(locks); return real(l); }
int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m) { REAL(pthread_cond_wait); COUNT(locks); return real(c, m); }

ssize_t write(int fd, const void *p, size_t n) { CALLED(); return syscall(SYS_write, fd, p, n); }
ssize_t read(int fd, void *p, size_t n) { CALLED(); return syscall(SYS_read, fd, p, n); }

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	va_list list;
	long a[6], result;
	uint64_t start = after && number == SYS_futex ? now() : 0;

	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	CALLED();
	result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (start) {
		wakes++;
		waking += now() - start;
	}
	return result;
}

/* --- the callback -------------------------------------------------------- */

static void commit_sabotage(void)
{
	if (strstr(sabotage, "malloc")) {
		void *volatile p = malloc(16);
		free(p);
	} else if (!strcmp(sabotage, "lock")) {
		pthread_mutex_lock(&mutex);
		pthread_mutex_unlock(&mutex);
	} else if (!strcmp(sabotage, "syscall")) {
		syscall(SYS_getppid);
	} else if (!strcmp(sabotage, "fault")) {
		volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*page = 1;
		munmap((void *)page, 4096);
	}
}

static uint64_t faults(void)
{
	struct rusage usage;
	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

/* Pages that the kernel moved, of any program, to have free ones side by side: while it does, a
 * page is missing, whether it is locked or not (vm.compact_unevictable_allowed). */
static uint64_t migrations(void)
{
	static const char name[] = "pgmigrate_success ";
	char line[128];
	uint64_t count = 0;
	FILE *file = fopen("/proc/vmstat", "r");

	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, name, sizeof name - 1))
			count = strtoull(line + sizeof name - 1, NULL, 10);
	if (file)
		fclose(file);
	return count;
}

static uint64_t enter(void)
{
	uint64_t start;

	faults_before = faults();
	allocations = locks = syscalls = wakes = 0;
	waking = 0;
	inside = 1;
	start = now();
	if (sabotage && strcmp(sabotage, "later-malloc"))
		commit_sabotage();
	return start;
}

static void leave(uint64_t start, void *data)
{
	uint64_t took = now() - start;

	inside = 0;
	after = 1;
	/* Each source has a thread of its own. */
	if (++cycles <= WARM_UP)
		return;
	number = __atomic_add_fetch(&total.cycles, 1, __ATOMIC_RELAXED);
	if (number <= MAX_CYCLES) {
		durations[number - 1] = (struct duration){ start, took };
		whose[number - 1] = data;
	}
}

static void process(void *data, struct spa_io_position *position)
{
	uint64_t start = enter();

	real_process(data, position);
	leave(start, data);
}

static void stream_process(void *data)
{
	uint64_t start = enter();

	real_stream_process(data);
	leave(start, data);
	total.streams += cycles > WARM_UP;
}

/* The thread rests: the cycle is over. */
int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	REAL(epoll_wait);
	if (after) {
		if (sabotage && !strcmp(sabotage, "later-malloc"))
			commit_sabotage();
		after = 0;
		if (cycles > WARM_UP) {
			total.allocations += allocations;
			total.locks += locks;
			total.syscalls += syscalls;
			total.faults += faults() - faults_before;
			if (syscalls > total.most_syscalls)
				total.most_syscalls = syscalls;
			if (wakes > total.most_wakes)
				total.most_wakes = wakes;
			if (number <= MAX_CYCLES)
				woke[number - 1] = waking;
		}
	}
	return real(fd, events, n, timeout);
}

static void *present(size_t n)
{
	return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static void prepare(void)
{
	sabotage = getenv("RTCHECK_SABOTAGE");
	if (!durations) {
		migrated = migrations();
		durations = present(MAX_CYCLES * sizeof *durations);
		woke = present(MAX_CYCLES * sizeof *woke);
		whose = present(MAX_CYCLES * sizeof *whose);
	}
}

void pw_stream_add_listener(struct pw_stream *stream, struct spa_hook *hook,
			    const struct pw_stream_events *theirs, void *data)
{
	REAL(pw_stream_add_listener);
	prepare();
	stream_events = *theirs;
	real_stream_process = theirs->process;
	stream_events.process = stream_process;
	real(stream, hook, &stream_events, data);
}

void pw_filter_add_listener(struct pw_filter *filter, struct spa_hook *hook,
			    const struct pw_filter_events *theirs, void *data)
{
	REAL(pw_filter_add_listener);
	prepare();
	events = *theirs;
	real_process = theirs->process;
	events.process = process;
	real(filter, hook, &events, data);
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static int shorter(const void *a, const void *b)
{
	return ascending(&((const struct duration *)a)->took, &((const struct duration *)b)->took);
}

/* The median of each node, in the order in which they began. */
static void report_each(FILE *file, uint64_t n)
{
	uint64_t *took = present((n + 1) * sizeof *took);
	const char *separator = "";

	fprintf(file, "\"each_p50_ns\": [");
	for (uint64_t first = 0; first < n; first++) {
		void *node = whose[first];
		uint64_t count = 0;

		if (!node)
			continue;
		for (uint64_t i = first; i < n; i++) {
			if (whose[i] != node)
				continue;
			took[count++] = durations[i].took;
			whose[i] = NULL;
		}
		qsort(took, count, sizeof *took, ascending);
		fprintf(file, "%s%lu", separator, took[count / 2]);
		separator = ", ";
	}
	fprintf(file, "], ");
}

__attribute__((destructor)) static void report(void)
{
	const char *path = getenv("RTCHECK_REPORT"), *all = getenv("RTCHECK_DURATIONS");
	uint64_t n = total.cycles;
	FILE *file;

	if (!path || !durations || !(file = fopen(path, "w")))
		return;
	if (n > MAX_CYCLES)
		n = MAX_CYCLES;
	FILE *raw = all ? fopen(all, "w") : NULL;
	if (raw) {
		fwrite(durations, sizeof *durations, n, raw);
		fclose(raw);
	}
	fputc('{', file);
	report_each(file, n);
	qsort(durations, n, sizeof *durations, shorter);
	qsort(woke, n, sizeof *woke, ascending);
	fprintf(file,
		"\"cycles\": %lu, \"streams\": %lu, \"allocations\": %lu, \"locks\": %lu, \"syscalls\": %lu, "
		"\"most_syscalls\": %u, \"most_wakes\": %u, \"faults\": %lu, \"migrated\": %lu, \"p50_ns\": %lu, \"p99_ns\": %lu, "
		"\"p999_ns\": %lu, \"max_ns\": %lu, \"waking_p50_ns\": %lu}\n",
		n, total.streams, total.allocations, total.locks, total.syscalls, total.most_syscalls, total.most_wakes, total.faults,
		migrations() - migrated,
		n ? durations[n / 2].took : 0, n ? durations[n * 99 / 100].took : 0,
		n ? durations[n * 999 / 1000].took : 0, n ? durations[n - 1].took : 0,
		n ? woke[n / 2] : 0);
	fclose(file);
}
