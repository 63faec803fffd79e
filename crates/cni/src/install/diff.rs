//! What changes, for people.

/// Lines of the same around a change.
const CONTEXT: usize = 3;

/// The lines that differ, with a few around them; empty where nothing does. One stretch: an installation
/// changes one place.
pub(super) fn lines(before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let mut text = format!("@@ -{0} +{0} @@\n", head + 1);
    let mut add = |sign: char, lines: &[&str]| {
        for line in lines {
            text.push(sign);
            text.push_str(line);
            text.push('\n');
        }
    };
    add(' ', &old[head.saturating_sub(CONTEXT)..head]);
    add('-', &old[head..old.len() - tail]);
    add('+', &new[head..new.len() - tail]);
    let rest = &old[old.len() - tail..];
    add(' ', &rest[..rest.len().min(CONTEXT)]);
    text
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn what_differs_is_shown_with_what_stands_around_it() {
        assert_eq!(lines("a\nb\n", "a\nb\n"), "");
        assert_eq!(
            lines("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nx\ny\n6\n"),
            "@@ -5 +5 @@\n 2\n 3\n 4\n-5\n+x\n+y\n 6\n"
        );
        assert_eq!(lines("a\n", "a\na\n"), "@@ -2 +2 @@\n a\n+a\n");
        assert_eq!(lines("", "a\n"), "@@ -1 +1 @@\n+a\n");
    }
}
