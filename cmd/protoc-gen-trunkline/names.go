package main

import (
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// A service is one of a .proto file, with the names that its Go code has.
type service struct {
	*protogen.Service
	name    string // what the others are made of
	methods []method
}

// A method is one of a service.
type method struct {
	*protogen.Method
	name       string // among the service's methods
	descriptor string // in the package
	wire       string // "package.Service/Method"
}

func (s *service) nameConst() string     { return s.name + "Name" }
func (s *service) handler() string       { return s.name + "Handler" }
func (s *service) register() string      { return "Register" + s.name + "Handler" }
func (s *service) unimplemented() string { return "Unimplemented" + s.name + "Handler" }
func (s *service) client() string        { return s.name + "Client" }
func (s *service) newClient() string     { return "New" + s.name + "Client" }
func (s *service) clientStruct() string  { return strings.ToLower(s.name[:1]) + s.name[1:] + "Client" }

// declared are the names that the service has in its package, besides those of its descriptors.
func (s *service) declared() []string {
	return []string{
		s.nameConst(), s.handler(), s.register(), s.unimplemented(), s.client(), s.newClient(), s.clientStruct(),
	}
}

// nameServices gives the services of a file their names. Several names of protobuf's may become the same in Go, in which
// "get_x" is GetX; and Foo's method Client has a descriptor FooClient. The later one gets an
// underscore then, as a field of protoc-gen-go does, so that what is added at a file's end renames nothing before it.
func nameServices(file *protogen.File) []*service {
	taken := make(names)
	var services []*service
	for _, s := range file.Services {
		named := &service{Service: s, name: s.GoName}
		for taken.hasAny(named.declared()) {
			named.name += "_"
		}
		taken.add(named.declared()...)
		ofService := make(names)
		for _, m := range s.Methods {
			name := ofService.free(m.GoName)
			named.methods = append(named.methods, method{
				Method:     m,
				name:       name,
				descriptor: taken.free(named.name + name),
				wire:       string(s.Desc.FullName()) + "/" + string(m.Desc.Name()),
			})
		}
		services = append(services, named)
	}
	return services
}

// names are those that are taken.
type names map[string]bool

// free returns name, with an underscore or more if it is taken, and takes it.
func (n names) free(name string) string {
	for n[name] {
		name += "_"
	}
	n[name] = true
	return name
}

func (n names) add(names ...string) {
	for _, name := range names {
		n[name] = true
	}
}

func (n names) hasAny(names []string) bool {
	for _, name := range names {
		if n[name] {
			return true
		}
	}
	return false
}
