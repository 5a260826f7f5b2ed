// A client of libv2m in scenes, one of which test_capi.py names. Says what it found on standard
// output; what must hold of every scene is asserted here.

#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <v2m.h>

#define SECOND INT64_C(1000000000)

static v2m_code ok(v2m_code code)
{
    if (code < 0)
        fprintf(stderr, "%d %s: %s\n", code, v2m_describe(code), v2m_last_error());
    assert(code >= 0);
    return code;
}

static v2m_stream *stream_of(const char *source, uint64_t count, v2m_engine engine)
{
    v2m_options options;
    ok(v2m_options_init(&options, sizeof options));
    options.source = source;
    options.count = count;
    options.engine = (uint32_t)engine;
    options.timeout_ns = 20 * SECOND;
    const char *rate = getenv("V2M_TEST_RATE");
    options.rate = rate ? (uint32_t)atoi(rate) : 0;
    v2m_stream *stream = NULL;
    ok(v2m_open(&options, &stream));
    return stream;
}

// To standard output: the first chunk's position, and every sample from there on.
static void samples(const char *source)
{
    v2m_stream *stream = stream_of(source, 800, V2M_ENGINE_PRIVATE);
    v2m_status status;
    ok(v2m_stream_status(stream, &status, sizeof status));
    uint32_t rate = status.rate;
    assert(status.window == rate * 32 / 1000 && status.private_pid > 0);
    char name[16];
    ok(v2m_stream_source(stream, name, sizeof name));
    assert(strlen(name) == 15 && strncmp(name, source, 15) == 0);
    uint64_t next = 0;
    for (bool first = true;; first = false) {
        v2m_chunk chunk;
        v2m_code code = ok(v2m_stream_read(stream, 10 * SECOND, &chunk));
        if (code == V2M_ENDED)
            break;
        if (first) {
            next = chunk.position;
            fwrite(&next, sizeof next, 1, stdout);
        }
        assert(code == V2M_OK && chunk.count == 800 && chunk.rate == rate);
        assert(chunk.position == next && chunk.owner);
        next += chunk.count;
        int64_t time_ns;
        assert(v2m_stream_time(stream, chunk.position, &time_ns) == V2M_OK);
        assert(time_ns == chunk.time_ns);
        size_t gaps = 1;
        ok(v2m_chunk_gaps(&chunk, NULL, 0, &gaps));
        assert(gaps == 0 && !(chunk.flags & V2M_CHUNK_GAP));
        v2m_echo echoes[64];
        size_t windows = 0;
        ok(v2m_chunk_echo(&chunk, echoes, 64, &windows));
        for (size_t i = 0; i < windows && i < 64; i++)
            assert(echoes[i].cancelled_db == 0 && echoes[i].flags == 0);
        fwrite(chunk.samples, sizeof *chunk.samples, chunk.count, stdout);
        assert(v2m_chunk_check(&chunk) == V2M_OK);
        v2m_chunk_release(&chunk);
        v2m_chunk_release(&chunk);
    }
    v2m_stream_free(stream);
}

// By an event loop: chunks, utterances and events as they come.
static void loop(const char *source)
{
    v2m_stream *stream = stream_of(source, 1600, V2M_ENGINE_PRIVATE);
    v2m_speech speech;
    ok(v2m_speech_init(&speech, sizeof speech));
    speech.min_silence_ms = 300;
    v2m_segments *segments = NULL;
    v2m_events *events = NULL;
    ok(v2m_segments_open(stream, &speech, &segments));
    ok(v2m_events_open(stream, &events));
    int descriptor = v2m_stream_fd(stream);
    assert(descriptor >= 0 && descriptor == v2m_stream_fd(stream));
    unsigned long long heard = 0, judged = 0;
    v2m_code of_chunks = V2M_OK, of_segments = V2M_OK, of_events = V2M_OK;
    while (of_chunks != V2M_ENDED || of_segments != V2M_ENDED || of_events != V2M_ENDED) {
        v2m_chunk chunk;
        v2m_event event;
        ok(v2m_stream_arm(stream));
        while ((of_chunks = ok(v2m_stream_poll(stream, &chunk))) == V2M_OK) {
            const float *probabilities;
            uint64_t count;
            ok(v2m_chunk_speech(&chunk, &probabilities, &count));
            for (uint64_t i = 0; i < count; i++)
                assert(probabilities[i] >= 0 && probabilities[i] <= 1);
            judged += count;
            heard += chunk.count;
            v2m_chunk_release(&chunk);
        }
        while ((of_segments = ok(v2m_segments_poll(segments, &chunk))) == V2M_OK) {
            assert(chunk.flags & V2M_CHUNK_FINAL);
            printf("utterance %llu %llu\n", (unsigned long long)chunk.position,
                   (unsigned long long)chunk.count);
            v2m_chunk_release(&chunk);
        }
        while ((of_events = ok(v2m_events_poll(events, &event))) == V2M_OK)
            printf("event %u %u %llu\n", event.kind, event.detail, (unsigned long long)event.position);
        struct pollfd waiting = {.fd = descriptor, .events = POLLIN, .revents = 0};
        assert(of_chunks == V2M_ENDED || poll(&waiting, 1, 20000) == 1);
    }
    printf("heard %llu judged %llu\n", heard, judged);
    v2m_events_free(events);
    v2m_segments_free(segments);
    v2m_stream_free(stream);
}

// Utterances by waiting for them.
static void utterances(const char *source)
{
    v2m_stream *stream = stream_of(source, 0, V2M_ENGINE_PRIVATE);
    v2m_segments *segments = NULL;
    ok(v2m_segments_open(stream, NULL, &segments));
    // They outlive it.
    v2m_chunk chunk;
    while (ok(v2m_segments_read(segments, -1, &chunk)) == V2M_OK) {
        double sum = 0;
        for (uint64_t i = 0; i < chunk.count; i++)
            sum += fabs((double)chunk.samples[i]);
        printf("utterance %llu %llu %.3f\n", (unsigned long long)chunk.position,
               (unsigned long long)chunk.count, sum / (double)chunk.count);
        v2m_chunk_release(&chunk);
    }
    v2m_stream_free(stream);
    assert(v2m_segments_read(segments, -1, &chunk) == V2M_ENDED);
    v2m_segments_free(segments);
}

static void *wait_for_ever(void *stream)
{
    v2m_chunk chunk;
    assert(v2m_stream_read(stream, -1, &chunk) == V2M_ENDED);
    assert(chunk.owner == NULL);
    assert(v2m_stream_wait(stream, -1) == V2M_OK);
    return NULL;
}

// Closed while others wait: in a read, and for the descriptor.
static void closed(const char *source)
{
    v2m_stream *stream = stream_of(source, 480000, V2M_ENGINE_PRIVATE);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, wait_for_ever, stream);
    ok(v2m_stream_arm(stream));
    usleep(100000);
    assert(v2m_stream_close(stream) == V2M_OK && v2m_stream_close(stream) == V2M_OK);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct pollfd waiting = {.fd = v2m_stream_fd(stream), .events = POLLIN, .revents = 0};
    assert(poll(&waiting, 1, 10000) == 1);
    v2m_status status;
    v2m_chunk chunk;
    assert(v2m_stream_status(stream, &status, sizeof status) == V2M_ENDED);
    assert(v2m_stream_poll(stream, &chunk) == V2M_ENDED);
    assert(v2m_stream_latest(stream, &chunk) == V2M_ENDED);
    v2m_stream_free(stream);
}

static uint64_t taken[4096];
static unsigned taken_count;
static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

static void *take_chunks(void *stream)
{
    v2m_chunk chunk;
    while (ok(v2m_stream_read(stream, -1, &chunk)) == V2M_OK) {
        pthread_mutex_lock(&taking);
        taken[taken_count++] = chunk.position;
        pthread_mutex_unlock(&taking);
        v2m_chunk_release(&chunk);
    }
    return NULL;
}

static int by_position(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

// Each chunk goes to one of the threads that read a stream.
static void threads(const char *source)
{
    v2m_stream *stream = stream_of(source, 512, V2M_ENGINE_PRIVATE);
    pthread_t readers[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&readers[i], NULL, take_chunks, stream);
    for (int i = 0; i < 4; i++)
        pthread_join(readers[i], NULL);
    qsort(taken, taken_count, sizeof *taken, by_position);
    for (unsigned i = 0; i < taken_count; i++)
        assert(taken[i] == taken[0] + 512 * (uint64_t)i);
    printf("chunks %u\n", taken_count);
    v2m_stream_free(stream);
}

static void on_alarm(int number)
{
    (void)number;
}

// Waits end by time and by signals.
static void interrupted(const char *source)
{
    v2m_stream *stream = stream_of(source, 480000, V2M_ENGINE_PRIVATE);
    v2m_chunk chunk;
    assert(v2m_stream_read(stream, 0, &chunk) == V2M_PENDING);
    assert(v2m_stream_read(stream, SECOND / 20, &chunk) == V2M_PENDING);
    assert(v2m_stream_wait(stream, SECOND / 20) == V2M_PENDING);
    assert(v2m_stream_latest(stream, &chunk) == V2M_PENDING);
    int64_t time_ns;
    assert(v2m_stream_time(stream, UINT64_MAX / 2, &time_ns) == V2M_PENDING);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    // Again and again: one may come while the call does not wait.
    struct itimerval often = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &often, NULL);
    assert(v2m_stream_read(stream, -1, &chunk) == V2M_INTERRUPTED);
    assert(v2m_stream_wait(stream, -1) == V2M_INTERRUPTED);
    memset(&often, 0, sizeof often);
    setitimer(ITIMER_REAL, &often, NULL);
    v2m_stream_free(stream);
}

// A forked child has nothing of its parent's, and harms nothing of it.
static void forked(const char *source)
{
    v2m_stream *stream = stream_of(source, 512, V2M_ENGINE_PRIVATE);
    v2m_chunk kept;
    assert(v2m_stream_read(stream, -1, &kept) == V2M_OK);
    pid_t child = fork();
    if (child == 0) {
        v2m_chunk chunk;
        v2m_status status;
        assert(v2m_stream_read(stream, -1, &chunk) == V2M_ERROR_INVALID);
        assert(strstr(v2m_last_error(), "parent"));
        assert(v2m_stream_status(stream, &status, sizeof status) == V2M_ERROR_INVALID);
        assert(v2m_stream_fd(stream) == V2M_ERROR_INVALID);
        // The memory is there all the same.
        assert(isfinite(kept.samples[511]) && v2m_chunk_check(&kept) == V2M_OK);
        _exit(0);
    }
    int how;
    assert(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
    v2m_chunk chunk;
    assert(v2m_stream_read(stream, -1, &chunk) == V2M_OK && chunk.position == kept.position + 512);
    v2m_chunk_release(&chunk);
    v2m_chunk_release(&kept);
    v2m_stream_free(stream);
}

// A chunk outlives its stream and its engine.
static void kept(const char *source)
{
    v2m_stream *stream = stream_of(source, 512, V2M_ENGINE_PRIVATE);
    v2m_chunk chunk, newest;
    assert(v2m_stream_read(stream, -1, &chunk) == V2M_OK);
    assert(v2m_stream_latest(stream, &newest) == V2M_OK && newest.position >= chunk.position);
    v2m_status status;
    ok(v2m_stream_status(stream, &status, sizeof status));
    v2m_stream_free(stream);
    for (int i = 0; i < 1000 && kill((pid_t)status.private_pid, 0) == 0; i++)
        usleep(10000);
    assert(kill((pid_t)status.private_pid, 0) == -1 && errno == ESRCH);
    fwrite(&chunk.position, sizeof chunk.position, 1, stdout);
    fwrite(chunk.samples, sizeof *chunk.samples, chunk.count, stdout);
    assert(v2m_chunk_check(&chunk) == V2M_OK);
    v2m_chunk_release(&chunk);
    v2m_chunk_release(&newest);
}

// From one engine of the user's to the next: chunks, and events, until 3 s of the second.
static void restarted(const char *source)
{
    v2m_stream *stream = stream_of(source, 1600, V2M_ENGINE_SERVICE);
    v2m_events *events = NULL;
    ok(v2m_events_open(stream, &events));
    uint64_t last = 0;
    for (int broken = 0, after = 0; after < 30;) {
        v2m_chunk chunk;
        v2m_code code = ok(v2m_stream_read(stream, SECOND, &chunk));
        if (code != V2M_OK)
            continue;
        broken |= chunk.position < last;
        assert(chunk.position >= last || chunk.flags & V2M_CHUNK_GAP);
        last = chunk.position;
        after += broken;
        printf("chunk %llu %u\n", (unsigned long long)chunk.position, chunk.flags);
        fflush(stdout);
        v2m_chunk_release(&chunk);
        v2m_event event;
        while ((code = ok(v2m_events_read(events, 0, &event))) == V2M_OK)
            printf("event %u %u\n", event.kind, event.detail);
        assert(code == V2M_PENDING);
    }
    v2m_events_free(events);
    v2m_stream_free(stream);
}

static void refused(v2m_options *options, v2m_code code, const char *said)
{
    v2m_stream *stream = NULL;
    v2m_code answered = v2m_open(options, &stream);
    if (answered != code || !strstr(v2m_last_error(), said))
        fprintf(stderr, "%d for %d: %s\n", answered, code, v2m_last_error());
    assert(answered == code && stream == NULL && strstr(v2m_last_error(), said));
    v2m_options_init(options, sizeof *options);
}

// What is wrong is told, and nothing happens.
static void errors(const char *source)
{
    assert(v2m_last_error()[0] == '\0' && v2m_version()[0] != '\0');
    v2m_options options;
    assert(v2m_options_init(NULL, 8) == V2M_ERROR_INVALID);
    v2m_options_init(&options, sizeof options);
    assert(v2m_open(&options, NULL) == V2M_ERROR_INVALID && strstr(v2m_last_error(), "NULL"));
    options.engine = 99;
    refused(&options, V2M_ERROR_INVALID, "engine = 99");
    options.rate = 12345;
    refused(&options, V2M_ERROR_INVALID, "12345 Hz");
    options.size = 0;
    refused(&options, V2M_ERROR_INVALID, "not initialized");
    options.source = "\xff\xfe";
    refused(&options, V2M_ERROR_INVALID, "UTF-8");
    options.latency = "often";
    refused(&options, V2M_ERROR_INVALID, "128/48000");
    options.engine = V2M_ENGINE_SERVICE;
    refused(&options, V2M_ERROR_UNAVAILABLE, "");
    options.engine = V2M_ENGINE_PRIVATE;
    options.program = "/nonexistent/v2m-engine";
    refused(&options, V2M_ERROR_UNAVAILABLE, "/nonexistent/v2m-engine");
    options.engine = V2M_ENGINE_PRIVATE;
    options.source = "file:/nonexistent.wav";
    v2m_stream *stream = NULL;
    assert(v2m_open(&options, &stream) < 0 && strstr(v2m_last_error(), "/nonexistent.wav"));
    // A caller that was compiled when the structure was shorter.
    struct {
        size_t size;
        const char *source;
        char beyond[256];
    } older;
    memset(&older, 0xff, sizeof older);
    v2m_options_init((v2m_options *)(void *)&older, 16);
    assert(older.size == 16 && older.source == NULL && older.beyond[0] == (char)0xff);
    older.source = source;
    ok(v2m_open((v2m_options *)(void *)&older, &stream));
    v2m_chunk chunk;
    assert(v2m_stream_read(NULL, 0, &chunk) == V2M_ERROR_INVALID);
    assert(v2m_stream_read(stream, 0, NULL) == V2M_ERROR_INVALID);
    v2m_speech speech;
    v2m_speech_init(&speech, sizeof speech);
    speech.threshold = 7;
    v2m_segments *segments = NULL;
    assert(v2m_segments_open(stream, &speech, &segments) == V2M_ERROR_INVALID && !segments);
    assert(strstr(v2m_last_error(), "threshold"));
    memset(&chunk, 0, sizeof chunk);
    assert(v2m_chunk_check(&chunk) == V2M_ERROR_INVALID);
    v2m_chunk_release(&chunk);
    v2m_chunk_release(NULL);
    char name[4];
    assert(v2m_stream_source(stream, name, 0) == V2M_ERROR_INVALID);
    v2m_events_free(NULL);
    v2m_segments_free(NULL);
    v2m_stream_free(NULL);
    v2m_stream_free(stream);
    for (v2m_code code = V2M_ERROR_INTERNAL; code <= V2M_RECOVER; code++)
        assert(strcmp(v2m_describe(code), v2m_describe(77)) != 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*play)(const char *source);
    } scenes[] = {
        {"samples", samples},         {"loop", loop},     {"utterances", utterances},
        {"closed", closed},           {"threads", threads}, {"interrupted", interrupted},
        {"forked", forked},           {"kept", kept},     {"restarted", restarted},
        {"errors", errors},
    };
    assert(argc == 3);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        if (strcmp(argv[1], scenes[i].name) == 0) {
            scenes[i].play(argv[2]);
            return 0;
        }
    return 2;
}
