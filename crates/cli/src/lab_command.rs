//! `vps-test lab …`

#[derive(Debug, clap::Args)]
pub struct LabArgs {}

pub fn run(_args: LabArgs) -> miette::Result<std::process::ExitCode> {
    Ok(std::process::ExitCode::SUCCESS)
}
