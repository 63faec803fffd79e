//! The agent without a command line, for experiments: `run CONFIG`.
use std::path::PathBuf;

fn main() {
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let config = portcullis_agent::config::Config::load(path.as_deref()).unwrap_or_else(|error| panic!("{error}"));
    if let Err(error) = portcullis_agent::run(config) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
