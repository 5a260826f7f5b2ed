"""PortAudio's numbers, under PyAudio's names."""

from __future__ import annotations

from typing import Final as _Final

paFloat32: _Final = 1
paInt32: _Final = 2
paInt24: _Final = 4
paInt16: _Final = 8
paInt8: _Final = 16
paUInt8: _Final = 32
paCustomFormat: _Final = 0x10000

paInDevelopment: _Final = 0
paDirectSound: _Final = 1
paMME: _Final = 2
paASIO: _Final = 3
paSoundManager: _Final = 4
paCoreAudio: _Final = 5
paOSS: _Final = 7
paALSA: _Final = 8
paAL: _Final = 9
paBeOS: _Final = 10
paWDMKS: _Final = 11
paJACK: _Final = 12
paWASAPI: _Final = 13
paNoDevice: _Final = -1

paNoError: _Final = 0
paNotInitialized: _Final = -10000
paUnanticipatedHostError: _Final = -9999
paInvalidChannelCount: _Final = -9998
paInvalidSampleRate: _Final = -9997
paInvalidDevice: _Final = -9996
paInvalidFlag: _Final = -9995
paSampleFormatNotSupported: _Final = -9994
paBadIODeviceCombination: _Final = -9993
paInsufficientMemory: _Final = -9992
paBufferTooBig: _Final = -9991
paBufferTooSmall: _Final = -9990
paNullCallback: _Final = -9989
paBadStreamPtr: _Final = -9988
paTimedOut: _Final = -9987
paInternalError: _Final = -9986
paDeviceUnavailable: _Final = -9985
paIncompatibleHostApiSpecificStreamInfo: _Final = -9984
paStreamIsStopped: _Final = -9983
paStreamIsNotStopped: _Final = -9982
paInputOverflowed: _Final = -9981
paOutputUnderflowed: _Final = -9980
paHostApiNotFound: _Final = -9979
paInvalidHostApi: _Final = -9978
paCanNotReadFromACallbackStream: _Final = -9977
paCanNotWriteToACallbackStream: _Final = -9976
paCanNotReadFromAnOutputOnlyStream: _Final = -9975
paCanNotWriteToAnInputOnlyStream: _Final = -9974
paIncompatibleStreamHostApi: _Final = -9973

paContinue: _Final = 0
paComplete: _Final = 1
paAbort: _Final = 2
paInputUnderflow: _Final = 1
paInputOverflow: _Final = 2
paOutputUnderflow: _Final = 4
paOutputOverflow: _Final = 8
paPrimingOutput: _Final = 16
paFramesPerBufferUnspecified: _Final = 0
