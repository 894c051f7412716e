//! Secrets as fields of frames: in the clear on the wire, and nowhere else.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::Secret;

#[allow(clippy::ref_option, reason = "serde asks for it")]
pub(crate) fn serialize<S: Serializer>(
    value: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(Secret::expose).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}
