//! Where clients can reach a worker: the machine's addresses, best first.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr},
};

use if_addrs::Interface;
use weever_proto::limits::MAX_CANDIDATES;

/// The addresses to listen on when none are named: those of the default route's interface, then the others, IPv4
/// before IPv6 in each; loopback only when there is nothing else. At most `limit`.
///
/// # Errors
/// The kernel won't list its interfaces.
pub(crate) fn local_addresses(limit: usize) -> io::Result<Vec<IpAddr>> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let default = [
        default_v4(&read("/proc/net/route")),
        default_v6(&read("/proc/net/ipv6_route")),
    ];
    let default: HashSet<String> = default.into_iter().flatten().collect();
    let interfaces = if_addrs::get_if_addrs()?;
    let interfaces: Vec<_> = interfaces
        .iter()
        .filter(|interface| interface.is_oper_up())
        .map(Local::from)
        .collect();
    let mut addresses = order(&interfaces, &default);
    addresses.truncate(limit);
    Ok(addresses)
}

/// An address and the interface that has it.
#[derive(Debug, Clone)]
struct Local {
    interface: String,
    ip: IpAddr,
}

impl From<&Interface> for Local {
    fn from(interface: &Interface) -> Self {
        Self {
            interface: interface.name.clone(),
            ip: interface.ip(),
        }
    }
}

fn order(interfaces: &[Local], default: &HashSet<String>) -> Vec<IpAddr> {
    let (loopback, outside): (Vec<&Local>, Vec<&Local>) = interfaces
        .iter()
        .filter(|local| is_usable(local.ip))
        .partition(|local| local.ip.is_loopback());
    let mut chosen = if outside.is_empty() { loopback } else { outside };
    chosen.sort_by_key(|local| (!default.contains(&local.interface), local.ip.is_ipv6()));
    let mut seen = HashSet::new();
    chosen
        .iter()
        .map(|local| local.ip)
        .filter(|ip| seen.insert(*ip))
        .collect()
}

/// A link-local address of IPv6 needs a scope, which a candidate can't carry (RFC 8839 §5.1).
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_unicast_link_local(),
    }
}

/// Route flags of the kernel: usable, and meant to refuse.
const RTF_UP: u32 = 0x0001;
const RTF_REJECT: u32 = 0x0200;

/// Interface of the best default route in `/proc/net/route`.
fn default_v4(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, flags, _, _, metric, mask, ..] = fields[..] else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_default = destination == "00000000" && mask == "00000000";
        let usable = flags & RTF_UP != 0 && flags & RTF_REJECT == 0;
        Some((metric.parse::<u32>().ok()?, interface)).filter(|_| is_default && usable)
    });
    routes
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, interface)| interface.to_owned())
}

/// Interface of the best default route in `/proc/net/ipv6_route`.
fn default_v6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, _, metric, _, _, flags, interface] = fields[..] else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_default = prefix == "00" && destination.bytes().all(|byte| byte == b'0');
        let usable = flags & RTF_UP != 0 && flags & RTF_REJECT == 0;
        Some((u32::from_str_radix(metric, 16).ok()?, interface)).filter(|_| is_default && usable)
    });
    routes
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, interface)| interface.to_owned())
}

/// What a worker that listens on `bound` offers: the public addresses first, at its port, then its own.
pub(crate) fn candidates(public: &[IpAddr], bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let port_for = |ip: &IpAddr| {
        let same_family = bound.iter().find(|address| address.is_ipv4() == ip.is_ipv4());
        same_family.or_else(|| bound.first()).map(SocketAddr::port)
    };
    let public = public
        .iter()
        .filter_map(|ip| Some(SocketAddr::new(*ip, port_for(ip)?)));
    let mut seen = HashSet::new();
    public
        .chain(bound.iter().copied())
        .filter(|address| seen.insert(*address))
        .take(MAX_CANDIDATES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(interface: &str, ip: &str) -> Local {
        Local {
            interface: interface.to_owned(),
            ip: ip.parse().unwrap(),
        }
    }

    fn texts(addresses: &[IpAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn default_routes_interface_comes_first_and_loopback_stays_out() {
        let machine = [
            local("lo", "127.0.0.1"),
            local("docker0", "172.17.0.1"),
            local("eth0", "fe80::1"),
            local("eth0", "2001:db8::7"),
            local("eth0", "192.0.2.7"),
            local("wg0", "10.0.0.1"),
            local("lo", "::1"),
        ];
        let default = HashSet::from(["eth0".to_owned()]);
        assert_eq!(
            texts(&order(&machine, &default)),
            ["192.0.2.7", "2001:db8::7", "172.17.0.1", "10.0.0.1"]
        );
    }

    #[test]
    fn a_machine_without_a_network_has_loopback() {
        let machine = [
            local("lo", "::1"),
            local("lo", "127.0.0.1"),
            local("eth0", "fe80::1"),
        ];
        assert_eq!(texts(&order(&machine, &HashSet::new())), ["127.0.0.1", "::1"]);
    }

    #[test]
    fn default_routes_are_read_from_the_kernels_tables() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  down0\t00000000\t010200C0\t0002\t0\t0\t1\t00000000\t0\t0\t0\n\
                  eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_v4(v4).as_deref(), Some("eth0"));
        let zero = "0".repeat(32);
        let v6 = format!(
            "fd{} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 other0\n\
             {zero} 00 {zero} 00 {zero} 00000400 00000002 00000000 00000003 eth1\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n",
            "0".repeat(30)
        );
        assert_eq!(default_v6(&v6).as_deref(), Some("eth1"));
        assert_eq!((default_v4(""), default_v6("nonsense\n")), (None, None));
    }

    #[test]
    fn public_addresses_lead_at_the_workers_port() {
        let bound: Vec<SocketAddr> = [
            "192.0.2.7:8444".parse().unwrap(),
            "[2001:db8::7]:9000".parse().unwrap(),
        ]
        .into();
        let public: Vec<IpAddr> = ["203.0.113.1".parse().unwrap(), "2001:db8::7".parse().unwrap()].into();
        let offered: Vec<String> = candidates(&public, &bound)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            offered,
            ["203.0.113.1:8444", "[2001:db8::7]:9000", "192.0.2.7:8444"]
        );
    }

    #[test]
    fn this_machine_has_addresses() {
        assert!(!local_addresses(32).unwrap().is_empty());
        assert_eq!(local_addresses(1).unwrap().len(), 1);
    }
}
