//! Ids and names of containers and networks, before they become part of a path.

/// Whether this is a whole id.
pub(super) fn is_whole(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether this may be an id or a name: what runtimes take as one, and nothing that means something in a URL.
pub(super) fn is_safe(id: &str) -> bool {
    (1..=253).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}
