module palaver/benchmarks/loadgen

go 1.21
