//! Containers: how soon they are bound, how many can be followed, how fast the answer comes.
//!
//! Runtimes are real ones, each in a lab of its own, wherever a figure has to do with a runtime. Where it has to
//! do with numbers that a real one does not reach on a small machine, a scripted Docker API tells of real
//! namespaces with real pairs on a real bridge; the measure's name says so.

mod answer;
mod churn;
mod doors;
mod many;
mod plugin;
mod pods;
mod runtimes;
mod scripted;
mod started;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::report::{Measure, Target};

const MODULES: [Module; 4] = [
    Module { names: &started::NAMES, measure: started::measure },
    Module { names: &many::NAMES, measure: many::measure },
    Module { names: &churn::NAMES, measure: churn::measure },
    Module { names: &answer::NAMES, measure: answer::measure },
];

/// Names of all measures here.
pub const NAMES: [&str; 16] = [
    started::NAMES[0],
    started::NAMES[1],
    started::NAMES[2],
    many::NAMES[0],
    many::NAMES[1],
    many::NAMES[2],
    many::NAMES[3],
    many::NAMES[4],
    churn::NAMES[0],
    churn::NAMES[1],
    answer::NAMES[0],
    answer::NAMES[1],
    answer::NAMES[2],
    answer::NAMES[3],
    answer::NAMES[4],
    answer::NAMES[5],
];
