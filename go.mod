module tidemark

go 1.26

require (
	github.com/google/uuid v1.6.0
	github.com/lxzan/gws v1.9.1
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/hanwen/go-fuse/v2 v2.12.1 // indirect
	github.com/klauspost/compress v1.17.9 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

ignore ./web
