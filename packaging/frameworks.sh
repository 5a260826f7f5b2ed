#!/bin/sh
# Installs the frameworks that need more than 300 MB into a virtual environment of their own,
# target/frameworks, and lets it find our module in .venv. For `make test-integrations`.
set -eu
cd "$(dirname "$0")/.."

wanted="pipecat-ai==1.14.0 livekit-agents==1.8.9 openai==3.57.0 scipy==1.17.1 onnx==1.23.2 pocketsphinx==5.1.1
    pytest==9.2.0 pytest-timeout==2.4.0 matplotlib==3.11.2 datasets==5.2.0 dask[distributed]==2026.8.0 ray[data]==2.60.0
    scikit-learn==1.9.1 halo==0.0.31 websocket-client==1.9.0 requests"
# Installed without what they ask for: RealtimeSTT wants PyTorch, of which it uses the
# multiprocessing only; openWakeWord wants a TFLite runtime, which is there for few Pythons.
bare="RealtimeSTT==1.1.2 openwakeword==0.6.0 silero-vad==6.2.3 webrtcvad-wheels==2.0.14"
place=target/frameworks

if [ ! -x $place/bin/python ]; then
    mkdir -p target
    .venv/bin/python -m venv $place
fi
if [ "$(cat $place/.installed 2>/dev/null || :)" != "$wanted $bare" ]; then
    printf '\033[1m== installing frameworks into %s: some minutes\033[0m\n' $place >&2
    # shellcheck disable=SC2086 # lists of names
    $place/bin/pip install --quiet $wanted
    # shellcheck disable=SC2086
    $place/bin/pip install --quiet --no-deps $bare
    echo "$wanted $bare" >$place/.installed
fi
# Our module as it is installed in .venv, and nothing else of that.
mkdir -p $place/ours
ln -sfn "$(echo "$PWD"/.venv/lib/python3*/site-packages/v2m_engine)" $place/ours/v2m_engine
for packages in $place/lib/python3*/site-packages; do
    printf '%s\n' "$PWD/$place/ours" "$PWD/tests" >"$packages/v2m-engine.pth"
done
