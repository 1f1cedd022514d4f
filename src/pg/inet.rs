//! The only code that knows the layout of an inet or cidr datum.
//!
//! A varlena of: family (2: IPv4, 3: IPv6), bits of netmask, then 4 or 16 bytes of address, network order.
//! pgrx's own `Inet` is a `String`, six times the price.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;
/// Bytes of the longest inet: 4 of header, family, bits, 16 of address.
pub const MAX_BYTES: usize = 22;

/// An inet value: an address and the length of its netmask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet {
    /// The address part, netmask or not.
    pub ip: IpAddr,
    /// Bits of netmask; 32 or 128 for a host.
    pub bits: u8,
}

impl Inet {
    /// A host address.
    pub fn host(ip: IpAddr) -> Inet {
        Inet { ip, bits: if ip.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether this is a network and not a host: a netmask, and only zeroes after it. (`81.2.69.142/24` is a host with
    /// its netmask; `81.2.69.0/24` is a network.)
    pub fn is_network(self) -> bool {
        match self.ip {
            IpAddr::V4(v4) => self.bits < 32 && u32::from(v4) << self.bits == 0,
            IpAddr::V6(v6) => self.bits < 128 && u128::from(v6) << self.bits == 0,
        }
    }

    /// Reads a datum of type inet or cidr.
    ///
    /// # Safety
    /// `datum` must be a valid, non-null inet or cidr.
    #[inline]
    pub unsafe fn read(datum: pg_sys::Datum) -> Inet {
        // SAFETY: the caller vouches for the datum; a valid inet has at least 6 bytes of data, 18 for IPv6.
        unsafe {
            let data = plain_data(datum.cast_mut_ptr());
            let bits = *data.add(1);
            let ip = if *data == FAMILY_V4 {
                IpAddr::V4(Ipv4Addr::from(data.add(2).cast::<[u8; 4]>().read_unaligned()))
            } else {
                IpAddr::V6(Ipv6Addr::from(data.add(2).cast::<[u8; 16]>().read_unaligned()))
            };
            Inet { ip, bits }
        }
    }

    /// Reads an array of inet or cidr; nulls are left out.
    ///
    /// # Safety
    /// `datum` must be a valid, non-null inet[] or cidr[].
    pub unsafe fn read_array(datum: pg_sys::Datum) -> Vec<Inet> {
        // SAFETY: the caller vouches for the datum.
        unsafe { crate::pg::datum::array_elements(datum, pg_sys::INETOID).into_iter().map(|d| Inet::read(d)).collect() }
    }

    /// Writes the value with a 1-byte header, as it would stand in a tuple; returns how many bytes.
    pub fn write_short(self, out: &mut [u8; MAX_BYTES]) -> usize {
        let len = self.write_body(&mut out[1..]) + 1;
        out[0] = crate::pg::datum::short_header(len);
        len
    }

    fn write_body(self, out: &mut [u8]) -> usize {
        out[1] = self.bits;
        match self.ip {
            IpAddr::V4(v4) => {
                out[0] = FAMILY_V4;
                out[2..6].copy_from_slice(&v4.octets());
                6
            }
            IpAddr::V6(v6) => {
                out[0] = FAMILY_V6;
                out[2..18].copy_from_slice(&v6.octets());
                18
            }
        }
    }
}

/// The data of a varlena. Detoasts only what needs it: an inet is never compressed or stored apart on its own, and the
/// guarded call that finds that out costs as much as the rest of reading it.
///
/// # Safety
/// `varlena` must be a valid varlena.
#[inline]
unsafe fn plain_data(varlena: *mut pg_sys::varlena) -> *const u8 {
    // SAFETY: see above.
    unsafe {
        let plain = if pgrx::varlena::varatt_is_1b_e(varlena) || pgrx::varlena::varatt_is_4b_c(varlena) {
            pg_sys::pg_detoast_datum_packed(varlena)
        } else {
            varlena
        };
        pgrx::varlena::vardata_any(plain).cast()
    }
}

impl From<IpNetwork> for Inet {
    fn from(network: IpNetwork) -> Inet {
        Inet { ip: network.ip(), bits: network.prefix() }
    }
}

impl FromDatum for Inet {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Inet> {
        // SAFETY: the caller vouches for the datum's type.
        if is_null { None } else { Some(unsafe { Inet::read(datum) }) }
    }
}

impl IntoDatum for Inet {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let mut bytes = [0; MAX_BYTES];
        let len = self.write_short(&mut bytes);
        // SAFETY: palloc returns at least `len` bytes or does not return.
        unsafe {
            let datum = pg_sys::palloc(len).cast::<u8>();
            datum.copy_from_nonoverlapping(bytes.as_ptr(), len);
            Some(pg_sys::Datum::from(datum))
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::INETOID
    }
}
