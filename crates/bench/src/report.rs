//! Results: for people and for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// One measure, as `./dev bench --json` writes it.
#[derive(Debug, Serialize)]
pub struct Measure {
    /// What was measured.
    pub name: String,
    /// The median.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What was measured beside it in the same run.
    pub reference: Option<&'static str>,
    /// The reference's median.
    pub reference_value: Option<f64>,
    /// `value` by `reference_value`.
    pub ratio: Option<f64>,
    /// The most that it may be; shown, not written.
    #[serde(skip)]
    pub target: Option<Target>,
}

/// The most that a measure may be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// This many times the reference.
    Ratio(f64),
    /// This, in the measure's unit.
    AtMost(f64),
}

impl Measure {
    /// A measure beside a reference. Values are rounded to what they are good for.
    pub fn beside(
        name: &str,
        value: f64,
        reference: &'static str,
        reference_value: f64,
        target: Option<Target>,
    ) -> Self {
        let ratio = (reference_value > 0.0).then(|| round(value / reference_value, 1000.0));
        Self {
            name: name.to_owned(),
            value: round(value, 100.0),
            unit: "ns",
            reference: Some(reference),
            reference_value: Some(round(reference_value, 100.0)),
            ratio,
            target,
        }
    }

    /// A measure with nothing beside it.
    pub fn alone(name: &str, value: f64, unit: &'static str, target: Option<Target>) -> Self {
        Self {
            name: name.to_owned(),
            value: round(value, 1000.0),
            unit,
            reference: None,
            reference_value: None,
            ratio: None,
            target,
        }
    }

    fn verdict(&self) -> String {
        let said = |met| if met { "met" } else { "MISSED" };
        match (self.target, self.ratio) {
            (Some(Target::Ratio(most)), Some(ratio)) => format!("≤ {most:.1} ×: {}", said(ratio <= most)),
            (Some(Target::AtMost(most)), _) => {
                format!("≤ {most} {}: {}", self.unit, said(self.value <= most))
            }
            _ => String::new(),
        }
    }
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// The table for people.
pub fn print(measures: &[Measure]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "MEASURE",
        "VALUE",
        "UNIT",
        "REFERENCE",
        "RATIO",
        "TARGET",
    ]);
    for measure in measures {
        let reference = match (measure.reference, measure.reference_value) {
            (Some(name), Some(value)) => format!("{name} {value:.2}"),
            _ => "-".to_owned(),
        };
        table.add_row([
            measure.name.clone(),
            format!("{:.2}", measure.value),
            measure.unit.to_owned(),
            reference,
            measure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} ×")),
            measure.verdict(),
        ]);
    }
    for column in [1, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
}
