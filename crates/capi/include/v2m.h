// libv2m: the client of v2m_engine. Audio as an engine captures it, in memory that nobody copies.
// See v2m(3) for how it is used; link by `pkg-config --cflags --libs v2m`.
//
// Pointers to handles are those that this library gave and that were not freed. A function says
// from which threads it may be called; from any is from several at once. Texts are UTF-8. A
// process that forks opens streams of its own in the child.


#ifndef V2M_H
#define V2M_H

#include <stddef.h>
#include <stdint.h>

// A chunk whenever audio arrives, that ends with the newest.
#define V2M_HOP_QUANTUM UINT64_MAX

// It holds silence filled in for lost audio, or does not follow on the chunk before.
#define V2M_CHUNK_GAP 1

// Of an utterance: it doesn't grow any more.
#define V2M_CHUNK_FINAL 2

// The loudspeaker plays, or its echo may still be heard.
#define V2M_ECHO_PLAYS 1

// Both sides speak: somebody interrupts what plays.
#define V2M_ECHO_BOTH 2

// The room isn't known yet, at the beginning and after a change of microphone or loudspeaker; or
// what was played isn't, as where a machine is too busy.
#define V2M_ECHO_CONVERGING 4

// What a function answers: 0 or more is an outcome, less than 0 an error, of which
// v2m_last_error() has the text.
enum v2m_code
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Done; what was asked for is there.
    V2M_OK = 0,
    // Nothing yet, or not within the time given.
    V2M_PENDING = 1,
    // Audio was overwritten before it was read. From a read or poll, `count` of what was to be
    // filled is how many samples; what follows is fresh.
    V2M_OVERRUN = 2,
    // The source has ended, or the stream was closed: nothing follows.
    V2M_ENDED = 3,
    // A signal was handled while the call waited. One that arrives just before it waits is not
    // seen: who goes by signals waits for a limited time, or closes the stream from a thread.
    V2M_INTERRUPTED = 4,
    // The engine is gone or hears no speech: call v2m_stream_recover or
    // v2m_segments_recover. Only polls answer this; reads recover by themselves.
    V2M_RECOVER = 5,
    // The call itself is wrong: correct the argument that the text names.
    V2M_ERROR_INVALID = -1,
    // No engine can be reached or started.
    V2M_ERROR_UNAVAILABLE = -2,
    // The source is not there, refuses, or gives no audio.
    V2M_ERROR_DEVICE = -3,
    // The engine broke the protocol.
    V2M_ERROR_PROTOCOL = -4,
    // The engine did not answer in time.
    V2M_ERROR_TIMEOUT = -5,
    // The operating system refused.
    V2M_ERROR_SYSTEM = -6,
    // A fault in this library.
    V2M_ERROR_INTERNAL = -7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum v2m_code v2m_code;
#else
typedef int32_t v2m_code;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which engine to listen to.
enum v2m_engine
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The user's service if it runs, else one that this process starts.
    V2M_ENGINE_AUTO = 0,
    // The user's service.
    V2M_ENGINE_SERVICE = 1,
    // One that this process starts, and that ends with its last stream.
    V2M_ENGINE_PRIVATE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum v2m_engine v2m_engine;
#else
typedef uint32_t v2m_engine;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What an event tells.
enum v2m_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Audio is missing, and silence of `length` samples in its place; `detail` is a v2m_gap.
    V2M_EVENT_GAP = 1,
    // Speech begins, by the engine's own parameters.
    V2M_EVENT_SPEECH_START = 2,
    // It ended, after `length` samples.
    V2M_EVENT_SPEECH_END = 3,
    // Another source is captured from about here on.
    V2M_EVENT_DEVICE = 4,
    // The engine's state became `detail`, a v2m_state.
    V2M_EVENT_STATE = 5,
    // From about here on the source's channel number `detail` (from 1) is heard.
    V2M_EVENT_CHANNEL = 6,
    // The user has muted speech capture: silence from here on.
    V2M_EVENT_MUTE = 7,
    // That has ended, after `length` samples.
    V2M_EVENT_UNMUTE = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum v2m_event_kind v2m_event_kind;
#else
typedef uint32_t v2m_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Why audio is missing.
enum v2m_gap
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The graph or the driver skipped samples.
    V2M_GAP_XRUN = 1,
    // Capture stopped, or moved to another clock.
    V2M_GAP_INTERRUPTED = 2,
    // Still no audio: this goes on with the gap before.
    V2M_GAP_CONTINUED = 3,
    // Nobody listened, so nothing was captured. Not a loss.
    V2M_GAP_NOT_CAPTURED = 4,
    // The user has muted speech capture. Not a loss.
    V2M_GAP_MUTED = 5,
    // The machine slept for as long as the event. Not a loss, and no samples stand for it.
    V2M_GAP_SUSPENDED = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum v2m_gap v2m_gap;
#else
typedef uint32_t v2m_gap;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What the engine is doing.
enum v2m_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Looking for its source.
    V2M_STATE_STARTING = 0,
    // Audio arrives.
    V2M_STATE_RUNNING = 1,
    // The source or the audio server is gone; silence is filled in meanwhile.
    V2M_STATE_WAITING = 2,
    // The source has come to its end, as a file does; nothing follows.
    V2M_STATE_ENDED = 3,
    // The engine has stopped, or is gone.
    V2M_STATE_STOPPED = 4,
    // Nobody listens and nothing is captured; positions stand still.
    V2M_STATE_IDLE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum v2m_state v2m_state;
#else
typedef uint32_t v2m_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What happens to a stream's audio.
typedef struct v2m_events v2m_events;

// The utterances of a stream.
typedef struct v2m_segments v2m_segments;

// Audio as it arrives.
typedef struct v2m_stream v2m_stream;

// What to open. Fill it by v2m_options_init, then change what is to be otherwise.
typedef struct v2m_options {
    // Bytes of this structure, as v2m_options_init sets it.
    size_t size;
    // What to capture (UTF-8). NULL: what the service captures, or the default source.
    const char *source;
    // Which of its channels: "auto", "mix", a name, or a number from 1. NULL: "auto".
    const char *channel;
    // The quantum to ask the graph for, as "128/48000". NULL: the engine's own.
    const char *latency;
    // The engine's program. NULL: $V2M_ENGINE_BIN, else the first on $PATH.
    const char *program;
    // A v2m_engine.
    uint32_t engine;
    // Samples per second: 8000, 16000, 24000, 32000 or 48000. 0: 16000.
    uint32_t rate;
    // Samples of a chunk. 0: 32 ms of them.
    uint64_t count;
    // Samples from the beginning of one chunk to that of the next. 0: `count`.
    // V2M_HOP_QUANTUM: as far as audio has arrived.
    uint64_t hop;
    // Nanoseconds without any audio, or without an engine, after which reads fail.
    // 0: they wait for ever.
    uint64_t timeout_ns;
} v2m_options;

// Samples in the engine's own memory. Fresh audio overwrites them when they are as old as
// the engine's history (a minute, unless it is configured otherwise): whoever takes that
// long asks v2m_chunk_check afterwards. The memory itself stays readable, whatever
// becomes of the engine and the stream, until v2m_chunk_release.
typedef struct v2m_chunk {
    // `count` samples. Read only.
    const float *samples;
    // How many. After V2M_OVERRUN: how many were lost; `samples` is NULL then.
    uint64_t count;
    // Index of the first, since the engine's first sample of this source.
    uint64_t position;
    // CLOCK_MONOTONIC nanoseconds at which the first was captured.
    int64_t time_ns;
    // V2M_CHUNK_GAP, V2M_CHUNK_FINAL.
    uint32_t flags;
    // Samples per second.
    uint32_t rate;
    // What keeps the memory. Leave it alone.
    const void *owner;
} v2m_chunk;

// How a stream is.
typedef struct v2m_status {
    // Bytes of this structure that this library knows.
    size_t size;
    // Samples captured so far: the position of the next one.
    uint64_t position;
    // The oldest position that is not overwritten.
    uint64_t oldest;
    // Samples lost, and filled with silence, since the engine's first.
    uint64_t lost;
    // In so many gaps.
    uint64_t gaps;
    // CLOCK_MONOTONIC nanoseconds at which the newest samples were written.
    int64_t written_ns;
    // Samples per second.
    uint32_t rate;
    // Samples of a window of speech detection (32 ms).
    uint32_t window;
    // A v2m_state.
    uint32_t state;
    // Process of the private engine. 0: it is the user's service.
    uint32_t private_pid;
} v2m_status;

// What happened, and at which position.
typedef struct v2m_event {
    // A v2m_event_kind. Pass over those that you don't know.
    uint32_t kind;
    // Depends on the kind.
    uint32_t detail;
    // First sample concerned.
    uint64_t position;
    // Samples concerned.
    uint64_t length;
    // CLOCK_MONOTONIC nanoseconds of `position`.
    int64_t time_ns;
} v2m_event;

// What was done to 32 ms of the source "clean"; all zeros of others, and where nothing plays.
typedef struct v2m_echo {
    // By how many dB the microphone became softer.
    float cancelled_db;
    // V2M_ECHO_PLAYS, V2M_ECHO_BOTH, V2M_ECHO_CONVERGING.
    uint32_t flags;
} v2m_echo;

// What counts as an utterance. Fill it by v2m_speech_init.
typedef struct v2m_speech {
    // Bytes of this structure, as v2m_speech_init sets it.
    size_t size;
    // From this probability on a window is speech.
    float threshold;
    // Below this one it is a pause. 0: 0.15 below `threshold`, at least 0.01.
    float neg_threshold;
    // Speech must be longer than this to count.
    uint32_t min_speech_ms;
    // A pause this long ends an utterance.
    uint32_t min_silence_ms;
    // Added before and after each utterance.
    uint32_t pad_ms;
    // Also give an utterance that grows, each time it grew by this much. 0: don't.
    uint32_t partial_ms;
    // The longest utterance, its pads included, in seconds.
    double max_s;
} v2m_speech;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library, as "0.2.0". From any thread.
const char *v2m_version(void);

// What a v2m_code means, in a few words. From any thread.
const char *v2m_describe(int32_t code);

// The text of this thread's last error: what failed, why, and what to do. Good until the
// thread's next error. From any thread.
const char *v2m_last_error(void);

// Fills `options` with defaults; `size` is `sizeof *options`. From any thread.
v2m_code v2m_options_init(struct v2m_options *options, size_t size);

// Connects to an engine, or starts one, and opens a stream at its newest audio. `options` may
// be NULL. Blocks, for some seconds if an engine has to be started. From any thread. Several
// threads may read one stream: each chunk goes to one of them.
v2m_code v2m_open(const struct v2m_options *options, struct v2m_stream **stream);

// Ends a stream: whoever waits for it in another thread is answered V2M_ENDED, and so is
// every later call. Chunks of it stay. From any thread.
v2m_code v2m_stream_close(const struct v2m_stream *stream);

// Closes a stream and frees it. NULL is nothing. Chunks of it stay; its segments and events
// end. No other thread may be in a call with it.
void v2m_stream_free(struct v2m_stream *stream);

// Gives the next chunk, waiting `timeout_ns` for it at most; less than 0 is for ever. An
// engine that is gone is looked for, or started again if it was a private one, which can take
// some seconds more. Answers V2M_OK, V2M_PENDING, V2M_OVERRUN, V2M_ENDED, V2M_INTERRUPTED or
// an error; only V2M_OK gives something to release. From any thread.
v2m_code v2m_stream_read(const struct v2m_stream *stream,
                         int64_t timeout_ns,
                         struct v2m_chunk *chunk);

// Gives the next chunk if it is there. Never waits. Answers V2M_OK, V2M_PENDING,
// V2M_OVERRUN, V2M_ENDED, V2M_RECOVER or an error. From any thread.
v2m_code v2m_stream_poll(const struct v2m_stream *stream, struct v2m_chunk *chunk);

// Gives the newest `count` samples, whatever was read before. V2M_PENDING: there are none
// yet. Never waits. From any thread.
v2m_code v2m_stream_latest(const struct v2m_stream *stream, struct v2m_chunk *chunk);

// Waits until the next read has something to answer: V2M_OK, V2M_PENDING or
// V2M_INTERRUPTED. Takes nothing. From any thread.
v2m_code v2m_stream_wait(const struct v2m_stream *stream, int64_t timeout_ns);

// Makes one attempt to connect to an engine in place of the one that is gone. Blocks, for
// some seconds perhaps. V2M_PENDING: try again in 100 ms. From any thread.
v2m_code v2m_stream_recover(const struct v2m_stream *stream);

// The descriptor by which an event loop waits for the stream, its segments and its events, or
// a v2m_code below 0. It is the stream's, the same from one engine to the next, and closed
// by v2m_stream_free. Arm it, poll everything until it answers V2M_PENDING, wait until the
// descriptor is readable, and begin again. From any thread.
int v2m_stream_fd(const struct v2m_stream *stream);

// Takes note of the descriptor's wake-ups so far, and asks for one at whatever happens from
// now on. Never waits. From the thread that waits for the descriptor.
v2m_code v2m_stream_arm(const struct v2m_stream *stream);

// Fills `status`; `size` is `sizeof *status`. Never waits. From any thread.
v2m_code v2m_stream_status(const struct v2m_stream *stream,
                           struct v2m_status *status,
                           size_t size);

// Writes what is captured into `text`, cut to fit into `size` bytes with a NUL at its end.
// Never waits. From any thread.
v2m_code v2m_stream_source(const struct v2m_stream *stream, char *text, size_t size);

// CLOCK_MONOTONIC nanoseconds at which the sample at `position` was captured. V2M_PENDING: it
// wasn't yet; V2M_OVERRUN: that is forgotten. Never waits. From any thread.
v2m_code v2m_stream_time(const struct v2m_stream *stream, uint64_t position, int64_t *time_ns);

// Lets go of a chunk's memory. One without any, and NULL, is nothing. Once for each chunk that
// was given: copies of the structure are the same chunk. From any thread.
void v2m_chunk_release(struct v2m_chunk *chunk);

// Whether a chunk's samples were still whole just now: V2M_OK or V2M_OVERRUN. To be asked
// after they were used. Never waits. From any thread.
v2m_code v2m_chunk_check(const struct v2m_chunk *chunk);

// The probabilities of speech of the windows that end in the chunk, and of the one that it
// begins in: `*count` of them, in the engine's memory like the samples. Window n is
// the 32 ms from position n * v2m_status.window on; NaN: it was not judged. Waits 20 ms at
// most for the newest; those that aren't judged by then are left out. From any thread.
v2m_code v2m_chunk_speech(const struct v2m_chunk *chunk,
                          const float **probabilities,
                          uint64_t *count);

// Writes the gaps in a chunk to `gaps`, `capacity` at most; `*count` is how many there are.
// `gaps` may be NULL if `capacity` is 0. Never waits. From any thread.
v2m_code v2m_chunk_gaps(const struct v2m_chunk *chunk,
                        struct v2m_event *gaps,
                        size_t capacity,
                        size_t *count);

// Writes to `echoes`, `capacity` at most, what was taken off the windows that end in the chunk
// and the one that it begins in; `*count` is how many there are. Fewer where they were
// overwritten. `echoes` may be NULL if `capacity` is 0. Never waits. From any thread.
v2m_code v2m_chunk_echo(const struct v2m_chunk *chunk,
                        struct v2m_echo *echoes,
                        size_t capacity,
                        size_t *count);

// Fills `speech` with defaults; `size` is `sizeof *speech`. From any thread.
v2m_code v2m_speech_init(struct v2m_speech *speech, size_t size);

// Opens the utterances of a stream from where it was entered or, once it was read from, its
// newest chunk on. What is read as chunks is found as utterances, too. `speech` may be NULL.
// Never waits. From any thread.
v2m_code v2m_segments_open(const struct v2m_stream *stream,
                           const struct v2m_speech *speech,
                           struct v2m_segments **segments);

// Gives the next utterance, as v2m_stream_read gives chunks. V2M_CHUNK_FINAL is in its flags
// unless it still grows. From any thread.
v2m_code v2m_segments_read(const struct v2m_segments *segments,
                           int64_t timeout_ns,
                           struct v2m_chunk *chunk);

// Gives the next utterance if it is there, as v2m_stream_poll gives chunks. From any thread.
v2m_code v2m_segments_poll(const struct v2m_segments *segments, struct v2m_chunk *chunk);

// Makes one attempt to mend what v2m_segments_poll found. Blocks, for some seconds perhaps.
// V2M_PENDING: try again in 100 ms; an error: the engine won't hear speech. From any thread.
v2m_code v2m_segments_recover(const struct v2m_segments *segments);

// Frees segments; their stream goes on. NULL is nothing. No other thread may be in a call with
// them.
void v2m_segments_free(struct v2m_segments *segments);

// Opens what happens to a stream's audio from where it was entered or, once it was read from,
// its newest chunk on; where speech goes on there, its start comes first. Never waits. From any
// thread.
v2m_code v2m_events_open(const struct v2m_stream *stream, struct v2m_events **events);

// Gives the next event, as v2m_stream_read gives chunks. From any thread.
v2m_code v2m_events_read(const struct v2m_events *events,
                         int64_t timeout_ns,
                         struct v2m_event *event);

// Gives the next event if it is there, as v2m_stream_poll gives chunks; V2M_RECOVER calls for
// v2m_stream_recover. From any thread.
v2m_code v2m_events_poll(const struct v2m_events *events, struct v2m_event *event);

// Frees events; their stream goes on. NULL is nothing. No other thread may be in a call with
// them.
void v2m_events_free(struct v2m_events *events);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* V2M_H */
