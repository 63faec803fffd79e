//! Which known word somebody may have meant.

/// The known word nearest to `word`, if one is near enough to be worth a suggestion.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace('-', "_");
    let word = plain(word);
    let (distance, best) =
        known.into_iter().map(|k| (distance(&word, &plain(k)), k)).min_by_key(|(d, _)| *d)?;
    // A third of the letters may be wrong; a longer way than that is no slip.
    (distance <= (word.chars().count().max(best.chars().count()) / 3).max(1)).then_some(best)
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KNOWN: [&str; 5] = ["socket", "state_dir", "per_second", "unbound", "bpffs"];

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        for (word, meant) in [
            ("sokcet", Some("socket")),
            ("Socket", Some("socket")),
            ("state-dir", Some("state_dir")),
            ("statedir", Some("state_dir")),
            ("per_secnd", Some("per_second")),
            ("unbond", Some("unbound")),
            ("bpfs", Some("bpffs")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, KNOWN), meant, "{word}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
