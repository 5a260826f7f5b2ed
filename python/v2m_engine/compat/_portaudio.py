"""PortAudio's numbers, under PyAudio's names."""

from __future__ import annotations

paFloat32, paInt32, paInt24, paInt16, paInt8, paUInt8 = 1, 2, 4, 8, 16, 32
paCustomFormat = 0x10000

paInDevelopment, paDirectSound, paMME, paASIO, paSoundManager, paCoreAudio = 0, 1, 2, 3, 4, 5
paOSS, paALSA, paAL, paBeOS, paWDMKS, paJACK, paWASAPI = 7, 8, 9, 10, 11, 12, 13
paNoDevice = -1

paNoError = 0
paNotInitialized = -10000
paUnanticipatedHostError = -9999
paInvalidChannelCount = -9998
paInvalidSampleRate = -9997
paInvalidDevice = -9996
paInvalidFlag = -9995
paSampleFormatNotSupported = -9994
paBadIODeviceCombination = -9993
paInsufficientMemory = -9992
paBufferTooBig = -9991
paBufferTooSmall = -9990
paNullCallback = -9989
paBadStreamPtr = -9988
paTimedOut = -9987
paInternalError = -9986
paDeviceUnavailable = -9985
paIncompatibleHostApiSpecificStreamInfo = -9984
paStreamIsStopped = -9983
paStreamIsNotStopped = -9982
paInputOverflowed = -9981
paOutputUnderflowed = -9980
paHostApiNotFound = -9979
paInvalidHostApi = -9978
paCanNotReadFromACallbackStream = -9977
paCanNotWriteToACallbackStream = -9976
paCanNotReadFromAnOutputOnlyStream = -9975
paCanNotWriteToAnInputOnlyStream = -9974
paIncompatibleStreamHostApi = -9973

paContinue, paComplete, paAbort = 0, 1, 2
paInputUnderflow, paInputOverflow, paOutputUnderflow, paOutputOverflow = 1, 2, 4, 8
paPrimingOutput = 16
paFramesPerBufferUnspecified = 0
