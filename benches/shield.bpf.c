// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What the shield is measured against: the smallest XDP programs that drop by source address, from a hash table of
// single addresses and from the kernel's own trie of prefixes. They know no VLAN, no IPv6, no fragments; what they
// cannot parse they pass.
//
// Each comes three times: for the source that is in the frame, for a random one, and for one out of the list that the
// measurement makes by the same function (as crates/abi/src/shield/mod.rs has it). The programs called base do
// nothing but write these.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} addresses SEC(".maps");

// A table for a handful is as small as its list.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u32);
} few SEC(".maps");

struct prefix {
	__u32 len;
	__u32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

static __always_inline struct iphdr *ipv4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	return ip;
}

static __always_inline int dropped(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&drops, &zero);

	if (count)
		(*count)++;
	return XDP_DROP;
}

static __always_inline int by_few(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);

	if (!ip || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	__u32 source = ip->saddr;
	return bpf_map_lookup_elem(&few, &source) ? dropped() : XDP_PASS;
}

static __always_inline int by_hash(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);

	if (!ip)
		return XDP_PASS;
	__u32 source = ip->saddr;
	return bpf_map_lookup_elem(&addresses, &source) ? dropped() : XDP_PASS;
}

static __always_inline int by_trie(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);

	if (!ip)
		return XDP_PASS;
	struct prefix key = { 32, ip->saddr };
	return bpf_map_lookup_elem(&prefixes, &key) ? dropped() : XDP_PASS;
}

static __always_inline int write_source(struct xdp_md *ctx, __u32 source)
{
	struct iphdr *ip = ipv4(ctx);

	if (ip)
		ip->saddr = bpf_htonl(source);
	return XDP_PASS;
}

static __always_inline __u32 listed(void)
{
	__u32 n = (__u64)bpf_get_prandom_u32() * 1000000 >> 32;

	n = (n ^ n >> 16) * 0x7feb352d;
	n = (n ^ n >> 15) * 0x846ca68b;
	return n ^ n >> 16;
}

SEC("xdp") int c_few(struct xdp_md *ctx) { return by_few(ctx); }
SEC("xdp") int c_drop(struct xdp_md *ctx) { return XDP_DROP; }

SEC("xdp") int c_hash_random(struct xdp_md *ctx)
{
	write_source(ctx, bpf_get_prandom_u32());
	return by_hash(ctx);
}

SEC("xdp") int c_hash_listed(struct xdp_md *ctx)
{
	write_source(ctx, listed());
	return by_hash(ctx);
}

SEC("xdp") int c_trie_random(struct xdp_md *ctx)
{
	write_source(ctx, bpf_get_prandom_u32());
	return by_trie(ctx);
}

SEC("xdp") int c_trie_listed(struct xdp_md *ctx)
{
	write_source(ctx, listed());
	return by_trie(ctx);
}

char _license[] SEC("license") = "GPL";
