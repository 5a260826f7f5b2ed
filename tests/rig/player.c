/* Plays known audio into a node's input ports, as a function of graph position.
 *
 *   player FILE TARGET [--loop] [--gain G] [--rate R] [--port P] [--name N]
 *   player --impulses SEED TARGET [--gain G] [--port P] [--name N]
 *
 * FILE is raw native f32, mono. At graph position p the output is x[p - p0]
 * (modulo its length with --loop, silence elsewhere), so lost and repeated
 * cycles shift nothing. Whenever the anchor is new (first cycle after being
 * linked, another clock, another rate) it prints "start <p0> <rate> <clock id> <ns>".
 * Times are CLOCK_MONOTONIC's.
 * --rate is FILE's rate (default 48000); a graph at another rate gets linear
 * interpolation. --rate 0 plays one file sample per graph sample at any rate.
 *
 * --impulses plays single samples of full scale, one in each tenth of a second
 * at a place in it that SEED decides, and prints "impulse <position> <ns>" for
 * each: the CLOCK_MONOTONIC time at which the callback wrote it.
 *
 * Prints "late <from> <to> <ns>" where the graph did not wait for it: what was to be
 * played in between may not have been heard, or one cycle later.
 * At the end, or on SIGTERM or SIGINT, prints "done <cycles> <late cycles>";
 * late are those whose position is not where the cycle before ended.
 *
 * It links itself (and again when the target comes back). Exit status: 0 done,
 * 1 failed (reason on stderr), 2 wrong usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <pipewire/filter.h>
#include <pipewire/pipewire.h>

#define NOTES 256 /* power of two */
#define MAX_PORTS 64

struct note {
	enum { START, IMPULSE, LATE, DONE } kind;
	int64_t a, b, c, ns;
};

struct port {
	uint32_t id, node;
	char name[64], channel[16];
	struct pw_proxy *link;
};

struct player {
	struct pw_main_loop *loop;
	struct pw_core *core;
	struct pw_registry *registry;
	struct pw_filter *filter;
	void *out;
	struct spa_source *notify;
	int status;

	/* What to play; constant while running. */
	const float *x;
	int64_t length;
	double gain;
	int64_t file_rate;
	bool loop_file, impulses;
	uint64_t seed;
	const char *target, *only_port;

	/* The graph, main thread only. */
	uint32_t target_node, own_port;
	struct port ports[MAX_PORTS];
	int n_ports;

	/* Data thread only, until the filter is gone. */
	bool anchored;
	uint32_t clock_id;
	int64_t rate, p0, expected, last_impulse;
	uint64_t cycles, late;
	bool finished;

	/* From the data thread to the main thread. */
	struct note notes[NOTES];
	atomic_uint written;
	unsigned read;
};

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void note(struct player *p, int kind, int64_t a, int64_t b, int64_t c)
{
	unsigned w = atomic_load_explicit(&p->written, memory_order_relaxed);
	p->notes[w % NOTES] = (struct note){ kind, a, b, c, now_ns() };
	atomic_store_explicit(&p->written, w + 1, memory_order_release);
	pw_loop_signal_event(pw_main_loop_get_loop(p->loop), p->notify);
}

static void on_notes(void *data, uint64_t count)
{
	struct player *p = data;
	unsigned w = atomic_load_explicit(&p->written, memory_order_acquire);
	(void)count;
	for (; p->read != w; p->read++) {
		struct note *n = &p->notes[p->read % NOTES];
		switch (n->kind) {
		case START:
			printf("start %lld %lld %lld %lld\n", (long long)n->a, (long long)n->b,
			       (long long)n->c, (long long)n->ns);
			break;
		case IMPULSE:
			printf("impulse %lld %lld\n", (long long)n->a, (long long)n->ns);
			break;
		case LATE:
			printf("late %lld %lld %lld\n", (long long)n->a, (long long)n->b,
			       (long long)n->ns);
			break;
		case DONE:
			pw_main_loop_quit(p->loop);
			break;
		}
	}
	fflush(stdout);
}

static uint64_t mix(uint64_t v) /* splitmix64 */
{
	v += 0x9e3779b97f4a7c15u;
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9u;
	v = (v ^ (v >> 27)) * 0x94d049bb133111ebu;
	return v ^ (v >> 31);
}

static float file_sample(const struct player *p, int64_t i)
{
	if (p->loop_file)
		i = ((i % p->length) + p->length) % p->length;
	return i >= 0 && i < p->length ? p->x[i] : 0.0f;
}

static void play_file(struct player *p, float *out, int64_t position, int64_t n)
{
	bool exact = p->file_rate == 0 || p->file_rate == p->rate;
	for (int64_t k = 0; k < n; k++) {
		int64_t i = position + k - p->p0;
		float v;
		if (exact) {
			v = file_sample(p, i);
		} else {
			double at = (double)i * (double)p->file_rate / (double)p->rate;
			int64_t whole = (int64_t)at - (at < 0);
			double part = at - (double)whole;
			v = (float)((1.0 - part) * file_sample(p, whole) +
				    part * file_sample(p, whole + 1));
		}
		out[k] = (float)(p->gain * v);
	}
}

static void play_impulses(struct player *p, float *out, int64_t position, int64_t n)
{
	int64_t slot = p->rate / 10;
	int64_t first = (position - p->p0) / slot, last = (position + n - 1 - p->p0) / slot;
	memset(out, 0, (size_t)n * sizeof *out);
	for (int64_t s = first; s <= last; s++) {
		int64_t at = p->p0 + s * slot + (int64_t)(mix(p->seed + (uint64_t)s) % (uint64_t)slot);
		if (at < position || at >= position + n)
			continue;
		out[at - position] = (float)p->gain;
		if (s > p->last_impulse) {
			p->last_impulse = s;
			note(p, IMPULSE, at, 0, 0);
		}
	}
}

static void on_process(void *data, struct spa_io_position *io)
{
	struct player *p = data;
	if (io == NULL)
		return;
	int64_t n = (int64_t)io->clock.duration, position = (int64_t)io->clock.position;
	int64_t rate = io->clock.rate.denom;
	float *out = pw_filter_get_dsp_buffer(p->out, (uint32_t)n);
	if (out == NULL || n == 0 || rate == 0)
		return;

	p->cycles++;
	if (!p->anchored || p->clock_id != io->clock.id || p->rate != rate) {
		/* Another clock or rate: the file goes on where it was. */
		int64_t played = 0;
		if (p->anchored)
			played = (p->expected - p->p0) *
				 (p->file_rate ? rate : p->rate) / p->rate;
		p->p0 = position - played;
		p->rate = rate;
		p->clock_id = io->clock.id;
		p->last_impulse = -1;
		p->anchored = true;
		note(p, START, p->p0, rate, p->clock_id);
	} else if (position != p->expected) {
		/* Those in between were not played; the one before came too late, maybe. */
		p->late++;
		note(p, LATE, p->expected - n, position, 0);
	}
	p->expected = position + n;

	if (p->impulses)
		play_impulses(p, out, position, n);
	else
		play_file(p, out, position, n);

	/* The graph has gone on, or is about to, before it has this cycle. */
	int64_t now = now_ns(), guard = n * 1000000000 / rate / 8;
	if ((uint64_t)(now + guard) > io->clock.next_nsec ||
	    (int64_t)io->clock.position != position)
		note(p, LATE, position, position + 2 * n, 0);

	if (!p->impulses && !p->loop_file && !p->finished) {
		int64_t length = p->length;
		if (p->file_rate && p->file_rate != rate)
			length = length * rate / p->file_rate;
		/* One cycle more, so that the last sample has been taken. */
		if (position - p->p0 >= length) {
			p->finished = true;
			note(p, DONE, 0, 0, 0);
		}
	}
}

static const struct pw_filter_events filter_events = {
	PW_VERSION_FILTER_EVENTS,
	.process = on_process,
};

static void link_up(struct player *p)
{
	if (p->own_port == SPA_ID_INVALID || p->target_node == SPA_ID_INVALID)
		return;
	for (int i = 0; i < p->n_ports; i++) {
		struct port *q = &p->ports[i];
		if (q->node != p->target_node || q->link != NULL)
			continue;
		if (p->only_port && strcmp(p->only_port, q->name) != 0 &&
		    strcmp(p->only_port, q->channel) != 0)
			continue;
		struct pw_properties *props = pw_properties_new(NULL, NULL);
		pw_properties_setf(props, PW_KEY_LINK_OUTPUT_PORT, "%u", p->own_port);
		pw_properties_setf(props, PW_KEY_LINK_INPUT_PORT, "%u", q->id);
		q->link = pw_core_create_object(p->core, "link-factory", PW_TYPE_INTERFACE_Link,
						PW_VERSION_LINK, &props->dict, 0);
		pw_properties_free(props);
	}
}

static void on_global(void *data, uint32_t id, uint32_t permissions, const char *type,
		      uint32_t version, const struct spa_dict *props)
{
	struct player *p = data;
	(void)permissions;
	(void)version;
	if (props == NULL)
		return;
	if (strcmp(type, PW_TYPE_INTERFACE_Node) == 0) {
		const char *name = spa_dict_lookup(props, PW_KEY_NODE_NAME);
		if (name && strcmp(name, p->target) == 0)
			p->target_node = id;
	} else if (strcmp(type, PW_TYPE_INTERFACE_Port) == 0) {
		const char *node = spa_dict_lookup(props, PW_KEY_NODE_ID);
		const char *direction = spa_dict_lookup(props, PW_KEY_PORT_DIRECTION);
		const char *name = spa_dict_lookup(props, PW_KEY_PORT_NAME);
		const char *channel = spa_dict_lookup(props, PW_KEY_AUDIO_CHANNEL);
		if (node == NULL || direction == NULL)
			return;
		uint32_t node_id = (uint32_t)atoi(node);
		if (strcmp(direction, "out") == 0) {
			if (node_id == pw_filter_get_node_id(p->filter))
				p->own_port = id;
		} else if (p->n_ports < MAX_PORTS) {
			struct port *q = &p->ports[p->n_ports++];
			memset(q, 0, sizeof *q);
			q->id = id;
			q->node = node_id;
			snprintf(q->name, sizeof q->name, "%s", name ? name : "");
			snprintf(q->channel, sizeof q->channel, "%s", channel ? channel : "");
		}
	}
	link_up(p);
}

static void on_global_remove(void *data, uint32_t id)
{
	struct player *p = data;
	if (id == p->target_node)
		p->target_node = SPA_ID_INVALID;
	for (int i = 0; i < p->n_ports; i++) {
		if (p->ports[i].id != id)
			continue;
		if (p->ports[i].link)
			pw_proxy_destroy(p->ports[i].link);
		p->ports[i] = p->ports[--p->n_ports];
		break;
	}
}

static const struct pw_registry_events registry_events = {
	PW_VERSION_REGISTRY_EVENTS,
	.global = on_global,
	.global_remove = on_global_remove,
};

static void on_core_error(void *data, uint32_t id, int seq, int res, const char *message)
{
	struct player *p = data;
	(void)seq;
	if (id == PW_ID_CORE && res == -EPIPE) {
		fprintf(stderr, "player: PipeWire is gone: %s\n", message);
		p->status = 1;
		pw_main_loop_quit(p->loop);
	}
}

static const struct pw_core_events core_events = {
	PW_VERSION_CORE_EVENTS,
	.error = on_core_error,
};

static void on_signal(void *data, int number)
{
	struct player *p = data;
	(void)number;
	pw_main_loop_quit(p->loop);
}

static int usage(void)
{
	fputs("usage: player FILE TARGET [--loop] [--gain G] [--rate R] [--port P] [--name N]\n"
	      "       player --impulses SEED TARGET [--gain G] [--port P] [--name N]\n",
	      stderr);
	return 2;
}

static int map_file(struct player *p, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "player: can't open %s: %s\n", path, strerror(errno));
		return -1;
	}
	p->length = st.st_size / (int64_t)sizeof(float);
	if (p->length == 0) {
		fprintf(stderr, "player: %s holds no sample\n", path);
		return -1;
	}
	p->x = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	close(fd);
	if (p->x == MAP_FAILED) {
		fprintf(stderr, "player: can't map %s: %s\n", path, strerror(errno));
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct player p;
	const char *name = "rig-player", *file = NULL;
	p.gain = 1.0;
	p.file_rate = 48000;
	p.target_node = p.own_port = SPA_ID_INVALID;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (strcmp(a, "--loop") == 0) {
			p.loop_file = true;
		} else if (strncmp(a, "--", 2) == 0) {
			if (value == NULL)
				return usage();
			i++;
			if (strcmp(a, "--gain") == 0)
				p.gain = atof(value);
			else if (strcmp(a, "--rate") == 0)
				p.file_rate = atoll(value);
			else if (strcmp(a, "--port") == 0)
				p.only_port = value;
			else if (strcmp(a, "--name") == 0)
				name = value;
			else if (strcmp(a, "--impulses") == 0) {
				p.impulses = true;
				p.seed = strtoull(value, NULL, 0);
			} else
				return usage();
		} else if (file == NULL && !p.impulses) {
			file = a;
		} else if (p.target == NULL) {
			p.target = a;
		} else {
			return usage();
		}
	}
	if (p.target == NULL || p.impulses == (file != NULL) || p.file_rate < 0)
		return usage();
	if (file && map_file(&p, file) < 0)
		return 1;

	pw_init(NULL, NULL);
	p.loop = pw_main_loop_new(NULL);
	struct pw_loop *loop = pw_main_loop_get_loop(p.loop);
	p.notify = pw_loop_add_event(loop, on_notes, &p);
	pw_loop_add_signal(loop, SIGTERM, on_signal, &p);
	pw_loop_add_signal(loop, SIGINT, on_signal, &p);

	struct pw_context *context = pw_context_new(
		loop, pw_properties_new(PW_KEY_CONFIG_NAME, "client-rt.conf", NULL), 0);
	p.core = context ? pw_context_connect(context, NULL, 0) : NULL;
	if (p.core == NULL) {
		fprintf(stderr, "player: can't reach PipeWire: %s\n", strerror(errno));
		return 1;
	}
	struct spa_hook core_listener = { 0 }, registry_listener = { 0 }, filter_listener = { 0 };
	pw_core_add_listener(p.core, &core_listener, &core_events, &p);

	p.filter = pw_filter_new(p.core, name,
				 pw_properties_new(PW_KEY_NODE_NAME, name,
						   PW_KEY_MEDIA_TYPE, "Audio",
						   PW_KEY_MEDIA_CATEGORY, "Playback",
						   PW_KEY_MEDIA_ROLE, "DSP", NULL));
	pw_filter_add_listener(p.filter, &filter_listener, &filter_events, &p);
	p.out = pw_filter_add_port(p.filter, PW_DIRECTION_OUTPUT, PW_FILTER_PORT_FLAG_MAP_BUFFERS, 0,
				   pw_properties_new(PW_KEY_FORMAT_DSP, "32 bit float mono audio",
						     PW_KEY_PORT_NAME, "output", NULL),
				   NULL, 0);
	if (pw_filter_connect(p.filter, PW_FILTER_FLAG_RT_PROCESS, NULL, 0) < 0) {
		fprintf(stderr, "player: can't connect the filter: %s\n", strerror(errno));
		return 1;
	}
	p.registry = pw_core_get_registry(p.core, PW_VERSION_REGISTRY, 0);
	pw_registry_add_listener(p.registry, &registry_listener, &registry_events, &p);

	pw_main_loop_run(p.loop);

	pw_filter_destroy(p.filter); /* the data thread writes nothing from here on */
	on_notes(&p, 0);
	printf("done %llu %llu\n", (unsigned long long)p.cycles, (unsigned long long)p.late);
	fflush(stdout);
	pw_proxy_destroy((struct pw_proxy *)p.registry);
	pw_core_disconnect(p.core);
	pw_context_destroy(context);
	pw_main_loop_destroy(p.loop);
	pw_deinit();
	return p.status;
}
