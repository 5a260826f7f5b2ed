// Utterances as they are said, from Node through its foreign-function interface.
//
//     npm install koffi
//     node utterances.mjs [SOURCE]

import koffi from "koffi";

const lib = koffi.load(process.env.LIBV2M ?? "libv2m.so.1");
koffi.opaque("v2m_stream");
koffi.opaque("v2m_segments");
koffi.struct("v2m_options", {
  size: "size_t",
  source: "const char *",
  channel: "const char *",
  latency: "const char *",
  program: "const char *",
  engine: "uint32_t",
  rate: "uint32_t",
  count: "uint64_t",
  hop: "uint64_t",
  timeout_ns: "uint64_t",
});
koffi.struct("v2m_chunk", {
  samples: "void *",
  count: "uint64_t",
  position: "uint64_t",
  time_ns: "int64_t",
  flags: "uint32_t",
  rate: "uint32_t",
  owner: "void *",
});
const lastError = lib.func("const char *v2m_last_error(void)");
const init = lib.func("int v2m_options_init(_Out_ v2m_options *options, size_t size)");
const open = lib.func("int v2m_open(const v2m_options *options, _Out_ v2m_stream **stream)");
const openSegments = lib.func(
  "int v2m_segments_open(v2m_stream *stream, void *speech, _Out_ v2m_segments **segments)",
);
const read = lib.func(
  "int v2m_segments_read(v2m_segments *segments, int64_t timeout_ns, _Out_ v2m_chunk *chunk)",
);
const release = lib.func("void v2m_chunk_release(v2m_chunk *chunk)");
const freeSegments = lib.func("void v2m_segments_free(v2m_segments *segments)");
const freeStream = lib.func("void v2m_stream_free(v2m_stream *stream)");

const OK = 0, ENDED = 3;

function check(code) {
  if (code < 0) throw new Error(lastError());
  return code;
}

// The call waits in a thread of Node's own: the event loop goes on. Of an error the text is
// that thread's, so only the code is known here.
function next(segments) {
  const chunk = {};
  return new Promise((resolve, reject) =>
    read.async(segments, -1, chunk, (failed, code) => {
      if (failed ?? code < 0) reject(failed ?? new Error(`v2m_segments_read: ${code}`));
      else resolve([code, chunk]);
    }),
  );
}

const options = {};
check(init(options, koffi.sizeof("v2m_options")));
options.source = process.argv[2] ?? null;
const stream = [null], segments = [null];
check(open(options, stream));
check(openSegments(stream[0], null, segments));
for (let [code, chunk] = await next(segments[0]); code !== ENDED; [code, chunk] = await next(segments[0])) {
  if (code !== OK) continue;
  // The engine's own memory, as numbers: no copy.
  const samples = new Float32Array(koffi.view(chunk.samples, 4 * Number(chunk.count)));
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  const at = Number(chunk.position) / chunk.rate, length = Number(chunk.count) / chunk.rate;
  console.log(`${at.toFixed(3)} s, ${length.toFixed(3)} s long, peak ${peak.toFixed(4)}`);
  release(chunk);
}
freeSegments(segments[0]);
freeStream(stream[0]);
