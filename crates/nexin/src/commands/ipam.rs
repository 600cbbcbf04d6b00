//! `nexin ipam`.

use clap::Args;
use nexin_api::v1::{IpamReply, Pool};

use super::Context;
use crate::error::Result;
use crate::output::{Cell, Paint, Style, Table};

#[derive(Args)]
pub(crate) struct Ipam {
    /// Also list every address that is taken
    #[arg(short, long)]
    addresses: bool,
}

pub(crate) async fn ipam(context: &Context, args: &Ipam) -> Result<()> {
    let reply = context.client()?.ipam().await?;
    Ok(context.out.show(&reply, |style| render(&reply, args.addresses, style))?)
}

fn render(reply: &IpamReply, addresses: bool, style: Style) -> String {
    let mut table = Table::new(&["POOL", "GATEWAY", "USED", "FREE"], "no pools");
    for pool in &reply.pools {
        table.row([
            pool.cidr.to_string().into(),
            pool.gateway.to_string().into(),
            pool.used.to_string().into(),
            free(pool),
        ]);
    }
    let mut text = table.render(style);
    if addresses {
        let mut table = Table::new(&["ADDRESS", "OWNER"], "no address is taken");
        for allocation in reply.pools.iter().flat_map(|pool| &pool.allocations) {
            table.row([allocation.address.to_string().into(), allocation.owner.as_str().into()]);
        }
        text.push('\n');
        text.push_str(&table.render(style));
    }
    text
}

/// Red when the next workload gets none, yellow in the last tenth.
fn free(pool: &Pool) -> Cell {
    let free = pool.capacity.saturating_sub(pool.used);
    let paint = match free {
        0 => Paint::Bad,
        _ if free < pool.capacity / 10 => Paint::Warn,
        _ => Paint::Plain,
    };
    Cell::new(paint, if free > u64::from(u32::MAX) { "plenty".to_owned() } else { free.to_string() })
}

#[cfg(test)]
mod tests {
    use nexin_api::v1::Allocation;

    use super::*;

    #[test]
    fn pools_and_their_addresses() {
        let reply = IpamReply {
            pools: vec![Pool {
                cidr: "10.0.0.0/24".parse().unwrap(),
                gateway: "10.0.0.1".parse().unwrap(),
                capacity: 253,
                used: 1,
                allocations: vec![Allocation { address: "10.0.0.2".parse().unwrap(), owner: "web/eth0".into() }],
            }],
        };
        assert_eq!(
            render(&reply, true, Style::new(false)),
            "POOL         GATEWAY   USED  FREE\n\
             10.0.0.0/24  10.0.0.1  1     252\n\
             \n\
             ADDRESS   OWNER\n\
             10.0.0.2  web/eth0\n"
        );
    }
}
