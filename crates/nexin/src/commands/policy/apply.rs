//! `nexin policy apply`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nexin_api::v1::{PolicyApplyReply, PolicyUpload};

use super::super::Context;
use super::{files, validate};
use crate::error::Result;
use crate::output::{Paint, Progress, Style};

#[derive(Args)]
pub(crate) struct Apply {
    /// Files or directories of YAML documents, - for standard input
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Namespace of documents that name none
    #[arg(short, long)]
    namespace: Option<String>,
}

/// All files are checked before the first is applied; each file is applied whole or not at all.
pub(crate) async fn apply(context: &Context, args: &Apply) -> Result<ExitCode> {
    let client = context.client()?;
    let files = files::read(&args.files)?;
    let upload = |name: &str| PolicyUpload { file: Some(name.to_owned()), namespace: args.namespace.clone() };
    let mut valid = true;
    for file in files.iter().filter(|_| files.len() > 1) {
        let reply = client.validate_policies(file.text.clone(), &upload(&file.name)).await?;
        if !reply.valid {
            valid = false;
            eprint!("{}", validate::diagnostics(&reply.diagnostics, &file.text, Style::default()));
        }
    }
    if !valid {
        eprintln!("nothing was applied");
        return Ok(ExitCode::FAILURE);
    }
    let mut all = PolicyApplyReply::default();
    let progress = Progress::new();
    for file in &files {
        progress.say(&format!("applying {}", file.name));
        let reply = client.apply_policies(file.text.clone(), &upload(&file.name)).await?;
        all.applied.extend(reply.applied);
        all.unchanged.extend(reply.unchanged);
        all.warnings.extend(reply.warnings);
        all.endpoints_changed += reply.endpoints_changed;
        all.epoch = reply.epoch;
    }
    drop(progress);
    context.out.show(&all, |style| render(&all, style))?;
    Ok(ExitCode::SUCCESS)
}

fn render(reply: &PolicyApplyReply, style: Style) -> String {
    let mut text = String::new();
    for policy in &reply.applied {
        text.push_str(&format!("{policy} {}\n", style.paint(Paint::Good, "applied")));
    }
    for policy in &reply.unchanged {
        text.push_str(&format!("{policy} unchanged\n"));
    }
    text.push_str(&validate::diagnostics(&reply.warnings, "", style));
    let endpoints = match reply.endpoints_changed {
        1 => "1 workload has".to_owned(),
        count => format!("{count} workloads have"),
    };
    text.push_str(
        &style.dim(&format!("{endpoints} new rules; in force from epoch {} on, for running flows too\n", reply.epoch)),
    );
    text
}
