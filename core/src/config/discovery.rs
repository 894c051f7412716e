//! `discovery`: how gateways are found on the network.

use super::read::Node;
use crate::discovery::MdnsMode;

/// `discovery`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// `mdns.mode`.
    pub mdns: MdnsMode,
}

impl DiscoveryConfig {
    pub(super) fn read(node: Node<'_>) -> Self {
        let mode = node.at("mdns").at("mode");
        Self {
            mdns: mode.str().and_then(MdnsMode::parse).unwrap_or_default(),
        }
    }
}
