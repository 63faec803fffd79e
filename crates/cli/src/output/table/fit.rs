//! How wide columns are where not everything has room.

/// Blanks between columns.
pub const GAP: u16 = 2;

/// Names are not broken into shorter pieces than this, nor are single words (paths, addresses).
const PIECE: usize = 24;

/// What a column asks for.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Narrower than this it is not to be read.
    least: usize,
    /// Narrower than this only where leaving out other columns did not help.
    good: usize,
    /// More is of no use.
    most: usize,
}

impl Need {
    /// Words that stay together.
    pub fn whole(most: usize) -> Self {
        Self { least: most, good: most, most }
    }

    /// Text whose longest word is `word`.
    pub fn text(word: usize, most: usize) -> Self {
        let least = word.min(PIECE);
        Self { least, good: least, most }
    }

    /// A name: whole, unless it is longer than two fifths of the terminal.
    pub fn name(most: usize, columns: usize) -> Self {
        let good = most.min((columns * 2 / 5).max(PIECE));
        Self { least: most.min(PIECE), good, most: good }
    }
}

/// The width of each column within `columns`, none for those that are left out: of `optional` as few as
/// possible, the first one first. Where even that does not fit, lines are too long: better than a letter a line.
pub fn widths(needs: &[Need], optional: &[usize], columns: usize) -> Vec<Option<usize>> {
    let without = |left_out: usize, of: fn(&Need) -> usize| {
        let shown = |index: &usize| !optional.iter().take(left_out).any(|other| other == index);
        let floors: Vec<_> =
            needs.iter().enumerate().map(|(index, need)| shown(&index).then(|| of(need))).collect();
        let count = floors.iter().flatten().count();
        let room = columns.saturating_sub(count.saturating_sub(1) * usize::from(GAP));
        (floors, room)
    };
    let attempts = (0..=optional.len()).map(|left_out| without(left_out, |need| need.good));
    let last = without(optional.len(), |need| need.least);
    let fits = |(floors, room): &(Vec<Option<usize>>, usize)| floors.iter().flatten().sum::<usize>() <= *room;
    let (floors, room) = attempts.chain([last.clone()]).find(fits).unwrap_or(last);
    share(needs, floors, room)
}

/// Shares what is left of `room` among those who want more, in proportion to what they want.
fn share(needs: &[Need], floors: Vec<Option<usize>>, room: usize) -> Vec<Option<usize>> {
    let mut left = room.saturating_sub(floors.iter().flatten().sum());
    let wish = |need: &Need, floor: &Option<usize>| floor.map_or(0, |floor| need.most - floor);
    let mut wished: usize = needs.iter().zip(&floors).map(|(need, floor)| wish(need, floor)).sum();
    let grown = needs.iter().zip(floors).map(|(need, floor)| {
        let own = wish(need, &floor);
        let more = if wished == 0 { 0 } else { (left * own).div_ceil(wished).min(own).min(left) };
        (left, wished) = (left - more, wished - own);
        floor.map(|floor| floor + more)
    });
    grown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_room_is_as_wide_as_it_wants() {
        let needs = [Need::name(30, 100), Need::whole(8), Need::text(10, 40)];
        assert_eq!(widths(&needs, &[1], 100), [Some(30), Some(8), Some(40)]);
        assert_eq!(widths(&needs, &[1], 82), [Some(30), Some(8), Some(40)]);
    }

    #[test]
    fn texts_wrap_before_columns_go_and_columns_go_before_names_break() {
        let needs = [Need::name(30, 60), Need::whole(8), Need::text(10, 40)];
        assert_eq!(widths(&needs, &[1], 60), [Some(24), Some(8), Some(24)]);
        let needs = [Need::name(30, 80), Need::whole(20), Need::text(10, 40)];
        assert_eq!(widths(&needs, &[1], 75), [Some(30), Some(20), Some(21)]);
        assert_eq!(widths(&needs, &[1], 62), [Some(30), None, Some(30)]);
        assert_eq!(widths(&needs, &[1], 40), [Some(25), None, Some(13)]);
    }

    #[test]
    fn nothing_is_narrower_than_its_words_or_wider_than_its_text() {
        for columns in 1..200 {
            let needs = [
                Need::name(253, columns),
                Need::whole(11),
                Need::text(17, 60),
                Need::text(90, 90),
                Need::whole(7),
            ];
            let widths = widths(&needs, &[4, 3], columns);
            for (need, width) in needs.iter().zip(&widths) {
                assert!(
                    width.is_none_or(|width| (need.least..=need.most).contains(&width)),
                    "{columns}: {widths:?}"
                );
            }
            let shown = widths.iter().flatten().count();
            let total = widths.iter().flatten().sum::<usize>() + 2 * (shown - 1);
            assert!(total <= columns.max(24 + 11 + 17 + 4), "{columns}: {widths:?}");
        }
    }
}
