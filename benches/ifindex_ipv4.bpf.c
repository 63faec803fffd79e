// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What the gate is measured against: the smallest program that keeps an interface to its IPv4
// address. One hash look-up of ifindex to address, one comparison, one per-CPU counter. It knows no
// MAC, no ARP, no IPv6, no fragments, no lengths; what it cannot parse it passes.
//
// Keep it as fast as it can be: `./dev bench` builds it with -O2 for the newest instruction set.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { ALLOWED, DROPPED, COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

SEC("classifier")
int c_ifindex_ipv4(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;

	__u32 ifindex = skb->ifindex;
	__u32 *address = bpf_map_lookup_elem(&addresses, &ifindex);
	if (!address)
		return TC_ACT_OK;

	__u32 which = ip->saddr == *address ? ALLOWED : DROPPED;
	__u64 *count = bpf_map_lookup_elem(&packets, &which);
	if (count)
		(*count)++;
	return which == ALLOWED ? TC_ACT_OK : TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
