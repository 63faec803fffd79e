//! Text that others chose: bounded, and nothing in it that a terminal would obey.

/// At most `chars` characters; control characters become `?`.
pub(crate) fn clean(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c.is_control() { '?' } else { c }).collect()
}
