// Package gosuite runs distribution's own test suite for storage drivers against the one of regfs.
//
// The driver here holds no logic: each call goes over a socket to driver_socket.py, which calls regfs. In
// particular distribution's base.Base is not around it, so every check of a path or an offset that the suite
// looks for is the Python driver's own.
package gosuite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	storagedriver "github.com/docker/distribution/registry/storage/driver"
	"github.com/docker/distribution/registry/storage/driver/testsuites"
	check "gopkg.in/check.v1"
)

// Test lets gocheck run its suites under "go test".
func Test(t *testing.T) { check.TestingT(t) }

func init() {
	testsuites.RegisterSuite(func() (storagedriver.StorageDriver, error) { return connect() }, testsuites.NeverSkip)
	check.Suite(&walkSuite{})
}

// connect makes the driver that REGFS_DRIVER_ADDRESS names.
func connect() (*driver, error) {
	d := &driver{address: os.Getenv("REGFS_DRIVER_ADDRESS")}
	_, err := d.call(request{"call": "name"}, nil, &d.name)
	return d, err
}

type request map[string]interface{}

// answer is a header line of the Python side; Length bytes follow it.
type answer struct {
	Value  json.RawMessage
	Error  *failure
	Length int64
}

// failure is an exception of the Python side. Kind is its class if the interface knows it.
type failure struct{ Kind, Text, Path, Driver string }

// driver forwards every call over a connection of its own.
type driver struct{ address, name string }

var _ storagedriver.StorageDriver = &driver{}

func (d *driver) Name() string { return d.name }

func (d *driver) GetContent(ctx context.Context, path string) ([]byte, error) {
	return d.call(request{"call": "get_content", "path": path}, nil, nil)
}

func (d *driver) PutContent(ctx context.Context, path string, content []byte) error {
	_, err := d.call(request{"call": "put_content", "path": path}, content, nil)
	return err
}

func (d *driver) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	c, err := d.open(request{"call": "reader", "path": path, "offset": offset}, nil)
	if err != nil {
		return nil, withOffset(err, offset)
	}
	return &reader{connection: c}, nil
}

func (d *driver) Writer(ctx context.Context, path string, append bool) (storagedriver.FileWriter, error) {
	w := &writer{}
	c, err := d.open(request{"call": "writer", "path": path, "append": append}, &w.size)
	if err != nil {
		return nil, err
	}
	w.connection = c
	return w, nil
}

func (d *driver) Stat(ctx context.Context, path string) (storagedriver.FileInfo, error) {
	var fields storagedriver.FileInfoFields
	if _, err := d.call(request{"call": "stat", "path": path}, nil, &fields); err != nil {
		return nil, err
	}
	return storagedriver.FileInfoInternal{FileInfoFields: fields}, nil
}

func (d *driver) List(ctx context.Context, path string) ([]string, error) {
	var paths []string
	_, err := d.call(request{"call": "list", "path": path}, nil, &paths)
	return paths, err
}

func (d *driver) Move(ctx context.Context, sourcePath string, destPath string) error {
	_, err := d.call(request{"call": "move", "path": sourcePath, "dest": destPath}, nil, nil)
	return err
}

func (d *driver) Delete(ctx context.Context, path string) error {
	_, err := d.call(request{"call": "delete", "path": path}, nil, nil)
	return err
}

func (d *driver) URLFor(ctx context.Context, path string, options map[string]interface{}) (string, error) {
	r := request{"call": "url_for", "path": path}
	for name, value := range options {
		if name != "method" {
			return "", fmt.Errorf("the socket has no place for the option %q", name)
		}
		r[name] = value
	}
	var url string
	_, err := d.call(r, nil, &url)
	return url, err
}

// Walk answers each FileInfo that the Python side sends with what the function said of it. An error of the
// function stays here; the Python side is told that there was one and has to come back with it.
func (d *driver) Walk(ctx context.Context, path string, f storagedriver.WalkFn) error {
	c, err := d.open(request{"call": "walk", "path": path}, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	var failed error
	for {
		var fields *storagedriver.FileInfoFields
		if _, err := c.receive(&fields); err != nil {
			if _, ok := err.(storagedriver.Error); ok && failed != nil {
				return failed
			}
			return err
		}
		if fields == nil {
			return nil
		}
		verdict := "go on"
		switch err := f(storagedriver.FileInfoInternal{FileInfoFields: *fields}); err {
		case nil:
		case storagedriver.ErrSkipDir:
			verdict = "skip"
		default:
			verdict, failed = "fail", err
		}
		if err := c.send(request{"call": verdict}, nil); err != nil {
			return err
		}
	}
}

// reader takes the blocks that the Python side sends until an empty one.
type reader struct {
	*connection
	left  int64
	ended bool
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.left == 0 && !r.ended {
		a, err := r.header()
		if err != nil {
			return 0, err
		}
		r.left, r.ended = a.Length, a.Length == 0
	}
	if r.ended {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.in.Read(p)
	r.left -= int64(n)
	return n, unexpected(err)
}

// writer has a size as of the last answer; every answer of the Python side tells it.
type writer struct {
	*connection
	size int64
}

func (w *writer) Size() int64 { return w.size }

func (w *writer) Write(p []byte) (int, error) {
	before := w.size
	err := w.do("write", p)
	return int(w.size - before), err
}

func (w *writer) Commit() error { return w.do("commit", nil) }

func (w *writer) Cancel() error { return w.do("cancel", nil) }

func (w *writer) Close() error {
	defer w.connection.Close()
	return w.do("close", nil)
}

func (w *writer) do(call string, body []byte) error {
	if err := w.send(request{"call": call}, body); err != nil {
		return err
	}
	_, err := w.receive(&w.size)
	return err
}

// connection carries header lines in JSON, each with as many bytes behind it as its "length" says.
type connection struct {
	net.Conn
	in *bufio.Reader
	d  *driver
}

// call makes a call that is over with its answer.
func (d *driver) call(r request, body []byte, value interface{}) ([]byte, error) {
	c, err := d.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.send(r, body); err != nil {
		return nil, err
	}
	return c.receive(value)
}

// open makes a call that goes on after its first answer.
func (d *driver) open(r request, value interface{}) (*connection, error) {
	c, err := d.dial()
	if err != nil {
		return nil, err
	}
	if err = c.send(r, nil); err == nil {
		_, err = c.receive(value)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (d *driver) dial() (*connection, error) {
	c, err := net.Dial("tcp", d.address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c, in: bufio.NewReader(c), d: d}, nil
}

func (c *connection) send(r request, body []byte) error {
	r["length"] = len(body)
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	buffers := net.Buffers{append(line, '\n'), body}
	_, err = buffers.WriteTo(c.Conn)
	return err
}

func (c *connection) receive(value interface{}) ([]byte, error) {
	a, err := c.header()
	if err != nil {
		return nil, err
	}
	body := make([]byte, a.Length)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, unexpected(err)
	}
	if value != nil {
		err = json.Unmarshal(a.Value, value)
	}
	return body, err
}

func (c *connection) header() (*answer, error) {
	line, err := c.in.ReadBytes('\n')
	if err != nil {
		return nil, unexpected(err)
	}
	a := &answer{}
	if err := json.Unmarshal(line, a); err != nil {
		return nil, err
	}
	if a.Error != nil {
		return nil, a.Error.typed()
	}
	return a, nil
}

// typed gives the interface's error of the same name.
func (f *failure) typed() error {
	switch f.Kind {
	case "PathNotFoundError":
		return storagedriver.PathNotFoundError{Path: f.Path, DriverName: f.Driver}
	case "InvalidPathError":
		return storagedriver.InvalidPathError{Path: f.Path, DriverName: f.Driver}
	case "InvalidOffsetError":
		return storagedriver.InvalidOffsetError{Path: f.Path, DriverName: f.Driver}
	case "UnsupportedMethodError":
		return storagedriver.ErrUnsupportedMethod{DriverName: f.Driver}
	}
	return storagedriver.Error{DriverName: f.Driver, Enclosed: errors.New(f.Text)}
}

// withOffset adds what the Python error tells in its text alone.
func withOffset(err error, offset int64) error {
	if invalid, ok := err.(storagedriver.InvalidOffsetError); ok {
		invalid.Offset = offset
		return invalid
	}
	return err
}

// unexpected tells a connection that broke from a file that ends.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// walkSuite compares Walk, which distribution's suite leaves out, with its way to walk over any driver.
type walkSuite struct{ d *driver }

var errEnough = errors.New("enough")

func (s *walkSuite) SetUpSuite(c *check.C) {
	d, err := connect()
	c.Assert(err, check.IsNil)
	s.d = d
}

func (s *walkSuite) SetUpTest(c *check.C) {
	for _, path := range []string{"/w/a/b/c", "/w/a/d", "/w/a-b/c", "/w/a.b", "/w/b/a/a/a/a", "/w/c"} {
		c.Assert(s.d.PutContent(context.Background(), path, []byte(path)), check.IsNil)
	}
}

func (s *walkSuite) TearDownTest(c *check.C) {
	c.Assert(s.d.Delete(context.Background(), "/w"), check.IsNil)
}

func (s *walkSuite) TestWalk(c *check.C) { s.compare(c, "", nil) }

func (s *walkSuite) TestWalkSkips(c *check.C) { s.compare(c, "/w/a", storagedriver.ErrSkipDir) }

func (s *walkSuite) TestWalkFails(c *check.C) { s.compare(c, "/w/a-b", errEnough) }

func (s *walkSuite) TestWalkOfNothing(c *check.C) {
	err := s.d.Walk(context.Background(), "/nothing", nil)
	c.Assert(err, check.Equals, storagedriver.PathNotFoundError{Path: "/nothing", DriverName: s.d.name})
}

// compare walks in both ways with a function that answers one path with an error.
func (s *walkSuite) compare(c *check.C, path string, answer error) {
	walk := func(walk func(storagedriver.WalkFn) error) (seen []string, err error) {
		err = walk(func(info storagedriver.FileInfo) error {
			seen = append(seen, fmt.Sprintf("%s %d %t", info.Path(), info.Size(), info.IsDir()))
			if info.Path() == path {
				return answer
			}
			return nil
		})
		return
	}
	wanted, wantedErr := walk(func(f storagedriver.WalkFn) error {
		return storagedriver.WalkFallback(context.Background(), s.d, "/w", f)
	})
	seen, err := walk(func(f storagedriver.WalkFn) error { return s.d.Walk(context.Background(), "/w", f) })
	c.Assert(seen, check.DeepEquals, wanted)
	c.Assert(err, check.Equals, wantedErr)
	c.Assert(len(seen) > 4, check.Equals, true)
}
