/* A pw_filter that looks at nothing: what every further node costs those beside it.
 *
 *   empty_filter NAME NODE.LATENCY      until SIGTERM
 */
#include <stdio.h>

#include <pipewire/filter.h>
#include <pipewire/pipewire.h>

static struct pw_main_loop *loop;

static void process(void *data, struct spa_io_position *position)
{
	(void)data;
	(void)position;
}

static void quit(void *data, int signal)
{
	(void)data;
	(void)signal;
	pw_main_loop_quit(loop);
}

static const struct pw_filter_events events = {
	PW_VERSION_FILTER_EVENTS,
	.process = process,
};

int main(int argc, char **argv)
{
	struct pw_filter *filter;

	if (argc != 3) {
		fprintf(stderr, "usage: %s NAME NODE.LATENCY\n", argv[0]);
		return 2;
	}
	pw_init(&argc, &argv);
	loop = pw_main_loop_new(NULL);
	pw_loop_add_signal(pw_main_loop_get_loop(loop), SIGTERM, quit, NULL);
	filter = pw_filter_new_simple(
		pw_main_loop_get_loop(loop), argv[1],
		pw_properties_new(PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY, "Capture",
				  PW_KEY_NODE_LATENCY, argv[2], NULL),
		&events, NULL);
	pw_filter_add_port(filter, PW_DIRECTION_INPUT, PW_FILTER_PORT_FLAG_MAP_BUFFERS, 0,
			   pw_properties_new(PW_KEY_FORMAT_DSP, "32 bit float mono audio",
					     PW_KEY_PORT_NAME, "input", NULL),
			   NULL, 0);
	if (pw_filter_connect(filter, PW_FILTER_FLAG_RT_PROCESS, NULL, 0) < 0) {
		fprintf(stderr, "%s: can't connect to PipeWire\n", argv[0]);
		return 1;
	}
	pw_main_loop_run(loop);
	pw_filter_destroy(filter);
	pw_main_loop_destroy(loop);
	pw_deinit();
	return 0;
}
