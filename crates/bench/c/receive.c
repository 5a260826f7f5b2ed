// The receiver in C of `v2m-engine bench latency`, which compiles it where libv2m is: what a
// program pays that uses that. Its stream is that of --rate. What it says is described in src/recording.rs.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <v2m.h>

struct block {
    int64_t held_ns, written_ns;
    uint32_t count;
};

static atomic_bool over;

static void *watch(void *nothing)
{
    char bytes[4096];
    while (read(0, bytes, sizeof bytes) > 0)
        ;
    over = true;
    return nothing;
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void *room(void *of, size_t bytes)
{
    void *memory = realloc(of, bytes);
    if (!memory)
        abort();
    return memory;
}

int main(int count, char **arguments)
{
    v2m_options options;
    v2m_options_init(&options, sizeof options);
    for (int i = 1; i + 1 < count; i += 2)
        if (strcmp(arguments[i], "--rate") == 0)
            options.rate = atoi(arguments[i + 1]);
    options.engine = V2M_ENGINE_SERVICE;
    options.count = 4096;
    options.hop = V2M_HOP_QUANTUM;
    v2m_stream *stream;
    v2m_code code = v2m_open(&options, &stream);
    pthread_t watcher;
    if (code >= 0 && pthread_create(&watcher, NULL, watch, NULL) != 0)
        abort();

    struct block *blocks = NULL;
    float *samples = NULL;
    size_t block_count = 0, sample_count = 0;
    uint64_t end = 0;
    while (code >= 0 && code != V2M_ENDED && !over) {
        v2m_chunk chunk;
        code = v2m_stream_read(stream, 100000000, &chunk);
        int64_t held_ns = now();
        if (code != V2M_OK)
            continue;
        v2m_status status;
        v2m_stream_status(stream, &status, sizeof status);
        uint64_t chunk_end = chunk.position + chunk.count;
        if (end) {
            size_t count = chunk_end - end;
            if (!block_count)
                printf("ready %u\n", chunk.rate), fflush(stdout);
            // Grows a thousand blocks at a time.
            if (block_count % 1024 == 0) {
                blocks = room(blocks, (block_count + 1024) * sizeof *blocks);
                samples = room(samples, (sample_count + 1024 * 4096) * sizeof *samples);
            }
            memcpy(samples + sample_count, chunk.samples + chunk.count - count, count * sizeof *samples);
            blocks[block_count++] = (struct block){held_ns, status.written_ns, (uint32_t)count};
            sample_count += count;
        }
        end = chunk_end;
        v2m_chunk_release(&chunk);
    }
    if (code < 0) {
        fprintf(stderr, "%s\n", v2m_last_error());
        return 1;
    }
    const float *from = samples;
    for (size_t i = 0; i < block_count; i++) {
        fwrite(&blocks[i].held_ns, sizeof blocks[i].held_ns, 1, stdout);
        fwrite(&blocks[i].written_ns, sizeof blocks[i].written_ns, 1, stdout);
        fwrite(&blocks[i].count, sizeof blocks[i].count, 1, stdout);
        fwrite(from, sizeof *from, blocks[i].count, stdout);
        from += blocks[i].count;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
