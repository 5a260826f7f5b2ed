// A level meter: the loudness of what the microphone hears, and whether it is speech.
//
//     cc level.c $(pkg-config --cflags --libs v2m) -lm -o level
//     ./level [SOURCE]

#include <math.h>
#include <stdio.h>
#include <v2m.h>

// Loudness in dB of full scale, no lower than -60.
static double level(const v2m_chunk *chunk)
{
    double sum = 1e-6 * (double)chunk->count;
    for (uint64_t i = 0; i < chunk->count; i++)
        sum += (double)chunk->samples[i] * (double)chunk->samples[i];
    return 10 * log10(sum / (double)chunk->count);
}

// The highest probability of speech in the chunk; 0 if nothing was judged.
static double speech(const v2m_chunk *chunk)
{
    const float *probabilities;
    uint64_t count;
    double highest = 0;
    if (v2m_chunk_speech(chunk, &probabilities, &count) == V2M_OK)
        for (uint64_t i = 0; i < count; i++)
            highest = fmax(highest, (double)probabilities[i]);
    return highest;
}

int main(int argc, char **argv)
{
    v2m_options options;
    v2m_options_init(&options, sizeof options);
    options.source = argc > 1 ? argv[1] : NULL;
    options.count = 1600; // 0.1 s
    v2m_stream *stream;
    v2m_code code = v2m_open(&options, &stream);

    while (code >= 0 && code != V2M_ENDED) {
        v2m_chunk chunk;
        code = v2m_stream_read(stream, -1, &chunk);
        if (code == V2M_OVERRUN)
            printf("\n%llu samples came too fast\n", (unsigned long long)chunk.count);
        if (code != V2M_OK)
            continue;
        double dB = level(&chunk);
        printf("\r%6.1f dB %-30.*s %s%s", dB, (int)(30 + dB / 2), "##############################",
               speech(&chunk) >= 0.5 ? "speech" : "      ", chunk.flags & V2M_CHUNK_GAP ? " gap\n" : "");
        fflush(stdout);
        v2m_chunk_release(&chunk);
    }
    putchar('\n');
    if (code < 0) {
        fprintf(stderr, "level: %s\n", v2m_last_error());
        return 1;
    }
    v2m_stream_free(stream);
    return 0;
}
