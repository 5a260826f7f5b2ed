/* pw_filters as a floor for engines: what every further node costs those beside it, and what a
 * callback costs that has to touch the audio at all.
 *
 *   filters empty|copy NODE.LATENCY NAME...   until SIGTERM
 *
 * Nodes of these names, each on a data thread of its own, that look at nothing, or copy what
 * they hear.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pipewire/filter.h>
#include <pipewire/pipewire.h>

/* A minute at 48 kHz, as a ring has. */
#define SAMPLES (60 * 48000)

struct node {
	void *port;
	float *ring;
	uint32_t at;
};

static struct pw_main_loop *loop;

static void look_at_nothing(void *data, struct spa_io_position *position)
{
	(void)data;
	(void)position;
}

static void copy(void *data, struct spa_io_position *position)
{
	struct node *node = data;
	uint32_t count = position->clock.duration;
	const float *samples = pw_filter_get_dsp_buffer(node->port, count);

	if (!samples)
		return;
	if (node->at + count > SAMPLES)
		node->at = 0;
	memcpy(node->ring + node->at, samples, count * sizeof *samples);
	node->at += count;
}

static void quit(void *data, int signal)
{
	(void)data;
	(void)signal;
	pw_main_loop_quit(loop);
}

static const struct pw_filter_events empty_events = {
	PW_VERSION_FILTER_EVENTS,
	.process = look_at_nothing,
};

static const struct pw_filter_events copy_events = {
	PW_VERSION_FILTER_EVENTS,
	.process = copy,
};

static int start(const char *name, const char *latency, int copies)
{
	struct node *node = calloc(1, sizeof *node);
	struct pw_filter *filter;

	if (copies) {
		node->ring = malloc(SAMPLES * sizeof *node->ring);
		memset(node->ring, 1, SAMPLES * sizeof *node->ring);
	}
	/* With a context, and so a data thread, of its own. */
	filter = pw_filter_new_simple(
		pw_main_loop_get_loop(loop), name,
		pw_properties_new(PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY, "Capture",
				  PW_KEY_NODE_LATENCY, latency, NULL),
		copies ? &copy_events : &empty_events, node);
	node->port = pw_filter_add_port(
		filter, PW_DIRECTION_INPUT, PW_FILTER_PORT_FLAG_MAP_BUFFERS, 0,
		pw_properties_new(PW_KEY_FORMAT_DSP, "32 bit float mono audio",
				  PW_KEY_PORT_NAME, "input", NULL),
		NULL, 0);
	return pw_filter_connect(filter, PW_FILTER_FLAG_RT_PROCESS, NULL, 0);
}

int main(int argc, char **argv)
{
	int copies = argc > 1 && !strcmp(argv[1], "copy");

	if (argc < 4 || (!copies && strcmp(argv[1], "empty"))) {
		fprintf(stderr, "usage: %s empty|copy NODE.LATENCY NAME...\n", argv[0]);
		return 2;
	}
	pw_init(&argc, &argv);
	loop = pw_main_loop_new(NULL);
	pw_loop_add_signal(pw_main_loop_get_loop(loop), SIGTERM, quit, NULL);
	for (int i = 3; i < argc; i++) {
		if (start(argv[i], argv[2], copies) < 0) {
			fprintf(stderr, "%s: can't connect to PipeWire\n", argv[0]);
			return 1;
		}
	}
	pw_main_loop_run(loop);
	return 0;
}
