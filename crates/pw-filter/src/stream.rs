//! What makes a filter a recording stream to the desktop: a format, and a volume that its
//! controls can set. There is no list of formats: a session manager that finds one takes the
//! node for its own and, in some releases, links no other stream while it is there.

use libspa::pod::deserialize::PodDeserializer;
use libspa::pod::serialize::PodSerializer;
use libspa::pod::{Object, Pod, Property, Value, ValueArray};
use libspa::utils::Id;
use libspa_sys as spa_sys;

/// A stream's volume, as the desktop sets it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamVolume {
    /// Nothing is to be heard.
    pub muted: bool,
    /// Samples are to be multiplied by this; 1 leaves them as they are.
    pub factor: f32,
}

impl Default for StreamVolume {
    fn default() -> Self {
        Self {
            muted: false,
            factor: 1.0,
        }
    }
}

impl StreamVolume {
    /// What samples are multiplied by, all told.
    pub fn gain(self) -> f32 {
        if self.muted { 0.0 } else { self.factor }
    }

    /// This volume with what `properties` change of it.
    pub(crate) fn changed_by(mut self, properties: &Pod) -> Self {
        let parsed = PodDeserializer::deserialize_any_from(properties.as_bytes());
        let Ok((_, Value::Object(object))) = parsed else {
            return self;
        };
        for property in object.properties {
            match (property.key, property.value) {
                (spa_sys::SPA_PROP_mute, Value::Bool(muted)) => self.muted = muted,
                (spa_sys::SPA_PROP_channelVolumes, Value::ValueArray(ValueArray::Float(all))) => {
                    // One channel, so one factor; nothing that isn't a number gets through.
                    if let Some(factor) = all.first().filter(|f| f.is_finite() && **f >= 0.0) {
                        self.factor = *factor;
                    }
                }
                _ => {}
            }
        }
        self
    }

    /// The volume for the desktop to see.
    pub(crate) fn properties(self) -> Parameter {
        Parameter::new(
            spa_sys::SPA_TYPE_OBJECT_Props,
            spa_sys::SPA_PARAM_Props,
            vec![
                Property::new(spa_sys::SPA_PROP_mute, Value::Bool(self.muted)),
                Property::new(
                    spa_sys::SPA_PROP_channelVolumes,
                    Value::ValueArray(ValueArray::Float(vec![self.factor])),
                ),
                Property::new(spa_sys::SPA_PROP_channelMap, mono()),
            ],
        )
    }
}

/// The format for the desktop to see: one channel at the graph's rate.
pub(crate) fn format(rate: u32) -> Parameter {
    let id = |value| Value::Id(Id(value));
    let int = |value: u32| Value::Int(i32::try_from(value).unwrap_or(i32::MAX));
    Parameter::new(
        spa_sys::SPA_TYPE_OBJECT_Format,
        spa_sys::SPA_PARAM_Format,
        vec![
            Property::new(
                spa_sys::SPA_FORMAT_mediaType,
                id(spa_sys::SPA_MEDIA_TYPE_audio),
            ),
            Property::new(
                spa_sys::SPA_FORMAT_mediaSubtype,
                id(spa_sys::SPA_MEDIA_SUBTYPE_raw),
            ),
            Property::new(
                spa_sys::SPA_FORMAT_AUDIO_format,
                id(spa_sys::SPA_AUDIO_FORMAT_F32P),
            ),
            Property::new(spa_sys::SPA_FORMAT_AUDIO_rate, int(rate)),
            Property::new(spa_sys::SPA_FORMAT_AUDIO_channels, int(1)),
            Property::new(spa_sys::SPA_FORMAT_AUDIO_position, mono()),
        ],
    )
}

fn mono() -> Value {
    Value::ValueArray(ValueArray::Id(vec![Id(spa_sys::SPA_AUDIO_CHANNEL_MONO)]))
}

/// A parameter as libpipewire takes it: a pod, aligned as pods are.
pub(crate) struct Parameter(Box<[u64]>);

impl Parameter {
    fn new(type_: u32, id: u32, properties: Vec<Property>) -> Self {
        let object = Value::Object(Object {
            type_,
            id,
            properties,
        });
        let cursor = std::io::Cursor::new(Vec::new());
        let bytes = PodSerializer::serialize(cursor, &object);
        let bytes = bytes.map_or_else(|_| Vec::new(), |(cursor, _)| cursor.into_inner());
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        Self(words.collect())
    }

    /// Valid as long as `self` lives.
    pub(crate) fn as_ptr(&self) -> *const spa_sys::spa_pod {
        self.0.as_ptr().cast()
    }

    #[cfg(test)]
    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(volume: StreamVolume) -> StreamVolume {
        let bytes = volume.properties().bytes();
        let pod = Pod::from_bytes(&bytes).unwrap();
        StreamVolume::default().changed_by(pod)
    }

    #[test]
    fn a_volume_is_read_as_it_is_written() {
        for (muted, factor) in [
            (false, 1.0),
            (true, 1.0),
            (false, 0.125),
            (true, 0.0),
            (false, 3.0),
        ] {
            let volume = StreamVolume { muted, factor };
            assert_eq!(roundtrip(volume), volume);
            assert_eq!(volume.gain(), if muted { 0.0 } else { factor });
        }
    }

    #[test]
    fn what_is_no_volume_changes_nothing() {
        for factor in [f32::NAN, f32::INFINITY, -1.0] {
            let muted = true;
            let volume = roundtrip(StreamVolume { muted, factor });
            assert_eq!(volume, StreamVolume { muted, factor: 1.0 });
        }
        let bytes = format(48000).bytes();
        let volume = StreamVolume::default().changed_by(Pod::from_bytes(&bytes).unwrap());
        assert_eq!(volume, StreamVolume::default());
    }
}
