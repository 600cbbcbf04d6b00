//! One Hubble endpoint over many nodes.
