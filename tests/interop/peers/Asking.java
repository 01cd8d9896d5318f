// Asks a server twice over HTTPS, by java.net.http.HttpClient with its defaults:
//   java Asking.java FOLDER PORT CREDENTIAL
// Prints the last answer's body, or throws.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Asking {
    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        char[] password = "secret".toCharArray();
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(Files.newInputStream(folder.resolve(args[2] + ".p12")), password);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, password);
        KeyStore anchors = KeyStore.getInstance("PKCS12");
        anchors.load(null, null);
        anchors.setCertificateEntry("anchor", CertificateFactory.getInstance("X.509")
            .generateCertificate(Files.newInputStream(folder.resolve("servers.crt"))));
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(anchors);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);

        HttpClient client = HttpClient.newBuilder().sslContext(context).build();
        URI uri = URI.create("https://localhost:" + args[1] + "/json");
        HttpRequest request = HttpRequest.newBuilder(uri).build();
        client.send(request, BodyHandlers.ofString());
        System.out.println(client.send(request, BodyHandlers.ofString()).body());
    }
}
