/* Cancels echo in a pipe by PipeWire's own canceller, the plugin that its module-echo-cancel runs,
 * as that module does: 10 ms at a time. `plugin FILE RATE [KEY]...` takes pairs of f32,
 * microphone and loudspeaker, from standard input, and gives f32; each KEY of its options is off. */
#include <dlfcn.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spa/interfaces/audio/aec.h>
#include <spa/support/log.h>
#include <spa/support/plugin.h>
#include <spa/utils/names.h>
#include <spa/utils/result.h>

static void quiet(void *object, enum spa_log_level level, const char *file, int line,
                  const char *function, const char *format, ...)
{
    (void)object, (void)level, (void)file, (void)line, (void)function, (void)format;
}

static void quiet_topic(void *object, enum spa_log_level level, const struct spa_log_topic *topic,
                        const char *file, int line, const char *function, const char *format, ...)
{
    (void)object, (void)level, (void)topic, (void)file, (void)line, (void)function, (void)format;
}

static const struct spa_log_methods methods = {
    SPA_VERSION_LOG_METHODS, .log = quiet, .logt = quiet_topic,
};

int main(int argc, char **argv)
{
    if (argc < 3)
        errx(2, "usage: plugin FILE RATE [KEY]...");
    uint32_t rate = (uint32_t)atoi(argv[2]), block = rate / 100, index = 0;
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library)
        errx(1, "%s", dlerror());
    spa_handle_factory_enum_func_t enumerate = dlsym(library, SPA_HANDLE_FACTORY_ENUM_FUNC_NAME);
    const struct spa_handle_factory *factory = NULL;
    while (enumerate(&factory, &index) > 0 && strcmp(factory->name, SPA_NAME_AEC) != 0)
        ;
    if (!factory)
        errx(1, "%s has no canceller", argv[1]);
    struct spa_log log = {
        .iface = SPA_INTERFACE_INIT(SPA_TYPE_INTERFACE_Log, SPA_VERSION_LOG, &methods, NULL),
        .level = SPA_LOG_LEVEL_NONE,
    };
    struct spa_support support = SPA_SUPPORT_INIT(SPA_TYPE_INTERFACE_Log, &log);
    struct spa_handle *handle = calloc(1, spa_handle_factory_get_size(factory, NULL));
    void *interface;
    if (spa_handle_factory_init(factory, handle, NULL, &support, 1) < 0 ||
        spa_handle_get_interface(handle, SPA_TYPE_INTERFACE_AUDIO_AEC, &interface) < 0)
        errx(1, "no canceller can be had");
    struct spa_audio_aec *aec = interface;
    struct spa_audio_info_raw info = SPA_AUDIO_INFO_RAW_INIT(
        .format = SPA_AUDIO_FORMAT_F32P, .rate = rate, .channels = 1,
        .position = {SPA_AUDIO_CHANNEL_MONO});
    struct spa_dict_item items[argc - 2];
    for (int i = 3; i < argc; i++)
        items[i - 3] = SPA_DICT_ITEM_INIT(argv[i], "false");
    struct spa_dict options = SPA_DICT_INIT(items, (uint32_t)argc - 3);
    int result = spa_audio_aec_init(aec, &options, &info);
    if (result < 0)
        errx(1, "it takes no %u Hz: %s", rate, spa_strerror(result));
    spa_audio_aec_activate(aec);
    float *pairs = calloc(block, 2 * sizeof(float)), *near = calloc(block, sizeof(float));
    float *far = calloc(block, sizeof(float)), *out = calloc(block, sizeof(float));
    while (fread(pairs, 2 * sizeof(float), block, stdin) == block) {
        for (uint32_t i = 0; i < block; i++)
            near[i] = pairs[2 * i], far[i] = pairs[2 * i + 1];
        const float *recorded[] = {near}, *played[] = {far};
        float *cleaned[] = {out};
        if (spa_audio_aec_run(aec, recorded, played, cleaned, block) < 0)
            errx(1, "it fails");
        if (fwrite(out, sizeof(float), block, stdout) != block)
            err(1, "standard output");
    }
    return 0;
}
