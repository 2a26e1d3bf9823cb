module gort.example/bench

go 1.22
