//! `anser-tools`: what keeps the house in order.

mod tidy;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "anser-tools", version, about = "What keeps anser in order")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules that the compiler does not know: imports, sizes, module heads
    Tidy {
        /// The top of the repository
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
    /// Run the simulated world under seeds; a seed that fails is named, and fails again alone
    Simulate {
        /// How many seeds, from 0
        #[arg(long, default_value_t = 1000, conflicts_with = "seed")]
        seeds: u64,
        /// Just this one
        #[arg(long)]
        seed: Option<u64>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Tidy { root } => tidy::run(&root),
        Command::Simulate { seeds, seed } => {
            anser::sim::checkers::run_all(seed.map_or(0..seeds, |seed| seed..seed + 1));
            println!("simulate: {} seeds, nothing lost", seed.map_or(seeds, |_| 1));
            Ok(ExitCode::SUCCESS)
        }
    }
}
